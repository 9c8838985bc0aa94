"""One process at a time writes a run folder; whoever reads it is never kept waiting.

The lock is the operating system's, on a file ``.lock`` in the folder. It goes with the process,
however that ends, so nothing is left to clear away after ``kill -9`` or a power cut. What the file
says (who, where, since when) is for the message only.

Some network folders have no locks. There a run goes on without one and says so.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from socket import gethostname

from paribus.closing import Closing
from paribus.errors import RunFolderError

LOCK = ".lock"
# Whoever only asks whether it is free holds it for an instant.
TRIES, PAUSE = 5, 0.02
_LARGEST = 4096
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_NONE_THERE = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


class Lock(Closing):
    """Holds a run folder until it is closed.

    Args:
        folder: which is there.

    Attributes:
        held: False where the folder's file system has no locks.

    Raises:
        RunFolderError: another process, or another run of this one, holds it; the message says
            which.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self.held = True
        self._handle: int | None = self._open()
        told = {
            "pid": os.getpid(),
            "host": gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with suppress(OSError):  # A full disk takes no words, and the lock holds without them.
            os.ftruncate(self._handle, 0)
            os.lseek(self._handle, 0, os.SEEK_SET)
            os.write(self._handle, json.dumps(told).encode())

    def close(self) -> None:
        """Let go of it, and leave nothing behind."""
        if self._handle is None:
            return
        handle, self._handle = self._handle, None
        try:
            # Its name goes while it is held: whoever opened it meanwhile sees that it is gone. A
            # folder that was removed may have been made anew, with a lock of somebody else.
            with suppress(OSError):
                if _is(self._path, handle):
                    self._path.unlink()
        finally:
            os.close(handle)

    def _open(self) -> int:
        left = TRIES
        while True:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | _NO_LINK)
            try:
                self.held = _take(handle)
                if not self.held or _is(self._path, handle):
                    return handle
            except BlockingIOError as error:
                os.close(handle)
                left -= 1
                if not left:
                    raise RunFolderError(_in_use(self._path)) from error
                time.sleep(PAUSE)
            except OSError:
                os.close(handle)
                raise
            else:
                os.close(handle)  # Its holder has ended since, and taken the name away.


def require_free(folder: Path) -> None:
    """Require that nobody writes a run folder now; one that is not there is free.

    Raises:
        RunFolderError: a process does; the message says which.
    """
    path = folder / LOCK
    try:
        handle = os.open(path, os.O_RDWR | _NO_LINK)
    except OSError:
        return
    try:
        _take(handle)
    except BlockingIOError as error:
        raise RunFolderError(_in_use(path)) from error
    except OSError:
        return
    finally:
        os.close(handle)


def _in_use(path: Path) -> str:
    try:
        with path.open("rb") as file:
            told = json.loads(file.read(_LARGEST))
        by = f"process {int(told['pid'])} on {str(told['host'])!r} since {str(told['since'])!r}"
    except (OSError, ValueError, KeyError, TypeError):
        by = "another process"
    return (
        f"{path.parent} is in use by {by}; wait for its end, stop it (Ctrl-C keeps its state), or "
        "choose another --out"
    )


def _is(path: Path, handle: int) -> bool:
    """Return whether a path still names an open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _take(handle: int) -> bool:
    """Lock an open file, at once or not; return whether there are locks where it is.

    Raises:
        BlockingIOError: it is locked.
    """
    try:
        _lock(handle)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno in _NONE_THERE:
            return False
        if error.errno == errno.EACCES:
            raise BlockingIOError(error.errno, error.strerror) from error
        raise
    return True


_lock: Callable[[int], None]
if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        # A byte that is never written, because what is locked there cannot be read.
        os.lseek(handle, _LARGEST, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


__all__ = ["LOCK", "Lock", "require_free"]
