"""Memory that is freed and wanted again a moment later stays with the process.

A training step allocates and frees the same few large arrays again and again. glibc gives such
memory back to the system each time, and the system hands it out anew page by page, filled with
zeros: for a small CNN that is 400 to 1000 page faults and a third of the time of a step, for a
photograph that is decoded beside others 300 and half of the time. With two thresholds raised none
are left.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

# mallopt's numbers for them (malloc.h).
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
# Bytes of freed memory that the process keeps at most at the end of its heap.
KEPT = 512 << 20
# Bytes from which an array is mapped by itself; the largest value that glibc takes.
MAPPED = 32 << 20
# Where the user has set such a threshold, it stays.
VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")


@cache
def keep_memory() -> bool:
    """Keep freed memory from now on, in the whole process; return whether that could be said.

    It changes no result, and the process holds up to ``KEPT`` bytes more when little is in use.
    Elsewhere than with glibc, or where the user has chosen thresholds or another allocator by the
    environment, nothing is changed.
    """
    if not sys.platform.startswith("linux") or any(name in os.environ for name in VARIABLES):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False  # another C library
    return bool(mallopt(MMAP_THRESHOLD, MAPPED)) and bool(mallopt(TRIM_THRESHOLD, KEPT))
