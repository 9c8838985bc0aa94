"""Files that are on the disk when they are said to be: synced, then renamed into their place.

A rename alone is atomic for readers, but after a power cut the name may be there before the bytes.
So a file is synced before it gets its name, and the folder that holds the name after it.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from io import RawIOBase
from pathlib import Path

# Hashing and copying: large enough that calls cost nothing, small enough for any memory.
PIECE = 1 << 20

# What ends when somebody makes room.
_FULL = {errno.ENOSPC, errno.EDQUOT}


def full(error: BaseException | None) -> bool:
    """Return whether an error says that the disk, or somebody's share of it, is full."""
    return isinstance(error, OSError) and error.errno in _FULL


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk.

    Raises:
        OSError: they could not be written.
    """
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders; NTFS keeps its own journal of names.
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put(file: RawIOBase, content: bytes | memoryview) -> None:
    """Write all of it to a file without a buffer; the system may take a part at a time.

    Raises:
        OSError: the disk took no more.
    """
    left = memoryview(content)
    while left:
        left = left[file.write(left) or 0 :]


def folder(path: Path) -> None:
    """Make a folder in one that is there, for good; one that is there already is right.

    Raises:
        OSError: it could not be made, or the name is taken by something else.
    """
    if not path.is_dir():
        path.mkdir()
        sync(path.parent)


def replace(staged: Path, path: Path) -> None:
    """Give a staged file (or a folder whose files are synced) its name, for good.

    Raises:
        OSError: it could not be written or renamed.
    """
    sync(staged)
    staged.replace(path)
    sync(path.parent)


def replace_folder(staged: Path, path: Path) -> None:
    """Give a folder whose files are synced its name, for good; nothing that is there is replaced.

    Raises:
        OSError: it could not be renamed, or the name is taken.
    """
    sync(staged)
    staged.rename(path)
    sync(path.parent)


def write(path: Path, text: str) -> None:
    """Write a text file as UTF-8, complete or not at all.

    Raises:
        OSError: it could not be written; nothing of it is left.
    """
    staged = path.with_name(f"{path.name}.partial")
    try:
        create(staged, text.encode())
        staged.replace(path)
        sync(path.parent)
    except OSError:
        discard(staged)
        raise


def discard(staged: Path) -> None:
    """Remove what could not be written, if that can be done."""
    with suppress(OSError):
        staged.unlink(missing_ok=True)


def create(path: Path, content: bytes) -> None:
    """Write a file that nobody looks for yet, and wait until it is on the disk.

    Raises:
        OSError: it could not be written; what was written of it is still there.
    """
    with path.open("wb", buffering=0) as file:
        put(file, content)
        os.fsync(file.fileno())
