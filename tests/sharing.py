"""What the processes of one suite run share: a folder, and what only one of them makes."""

from __future__ import annotations

import fcntl
import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

Made = TypeVar("Made")

# What JAX compiled for one test is read by the next one, in whatever process: most of what a test
# of JAX took was compiling. The folder is new with each suite run, so all is compiled that is
# tested. ``tests/killing.py``, which asks whether two processes compile to the same bits, is
# without it.
COMPILED = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


def common(factory: pytest.TempPathFactory) -> Path:
    """Return a folder of this suite run, the same in all of its processes."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Made]) -> Made:
    """Return what ``make`` returns for a new folder; one process makes it, the others wait.

    Where it fails, the next one tries again, so that each reports the error.
    """
    base = common(factory)
    kept = base / f"{name}.pickle"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            made = make(Path(tempfile.mkdtemp(prefix=name, dir=base)))
            kept.write_bytes(pickle.dumps(made))
    found: Made = pickle.loads(kept.read_bytes())
    return found
