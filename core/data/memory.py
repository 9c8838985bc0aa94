"""Whether examples go into memory or stay where they are, as ``data.memory`` says.

In memory they are fastest. Streamed they cost no more memory than a few chunks, and the numbers
that come out are the same, so it does no harm that ``auto`` decides differently on two machines.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Choice = Literal["auto", "load", "stream"]

# Examples may take this share of what is available: a framework wants memory too, and TensorFlow
# and accelerators take a copy of their own.
SHARE = 4
# Taken as available where the system does not say how much is (all but Linux).
UNKNOWN = 8 << 30

_MEMINFO = Path("/proc/meminfo")
# What a container may use, by the two versions of Linux's control groups.
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def available() -> int:
    """Return the bytes that can be had without swapping, at most the container's limit."""
    try:
        lines = _MEMINFO.read_text().splitlines()
        found = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvail"))
    except (OSError, StopIteration, ValueError, IndexError):
        found = UNKNOWN
    for path in _LIMITS:
        try:
            found = min(found, int(path.read_text()))
        except (OSError, ValueError):  # no such file, or the word "max"
            continue
    return found


def too_large(size: int) -> bool:
    """Return whether ``size`` bytes are more than examples may take of the available memory."""
    return size > available() // SHARE


def streams(choice: Choice, size: int) -> bool:
    """Return whether examples of ``size`` bytes are read when they are needed."""
    return choice == "stream" or (choice == "auto" and too_large(size))
