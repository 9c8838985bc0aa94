"""Files by their names, whatever the names are.

``pathlib`` answers for most names whether there is a file, and raises for one that is too long, or
in a folder that may not be entered: there, too, nothing can be read, which is what is asked. A name
is bytes, and where those are no UTF-8, Python's text of it can be opened, but not written down.
"""

from __future__ import annotations

from pathlib import Path


def is_file(path: Path) -> bool:
    """Return whether there is a file that can be seen."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Return whether there is a folder that can be seen."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def is_odd(path: Path) -> bool:
    """Return whether something is there that is no file of its own: a link, a pipe, a folder."""
    return path.is_symlink() or (path.exists() and not path.is_file())


def is_text(name: str) -> bool:
    """Return whether a name can be written down as UTF-8."""
    try:
        name.encode()
    except ValueError:
        return False
    return True


def shown(path: str) -> str:
    """Return a path as it can be written down: bytes that are no text as ``\\udcff``."""
    return path.encode("utf-8", "backslashreplace").decode()
