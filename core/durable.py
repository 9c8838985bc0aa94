"""Files that are on the disk when they are said to be: synced, then renamed into their place.

A rename alone is atomic for readers, but after a power cut the name may be there before the bytes.
So a file is synced before it gets its name, and the folder that holds the name after it.
"""

from __future__ import annotations

import os
from pathlib import Path

# Hashing and copying: large enough that calls cost nothing, small enough for any memory.
PIECE = 1 << 20


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
        OSError: it could not be written.
    """
    staged = path.with_name(f"{path.name}.partial")
    staged.write_bytes(text.encode())
    replace(staged, path)
