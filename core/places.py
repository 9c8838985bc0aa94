"""Whether there is a file at a path that somebody has named, whatever the name is.

``pathlib`` answers for most names, and raises for one that is too long, or in a folder that may not
be entered: there, too, nothing can be read, which is what is asked.
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
