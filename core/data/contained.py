"""Files of a folder that somebody else packed: none of them may lead out of it.

A symbolic link is followed as long as it stays inside, so that a data set cannot make us read the
rest of the disk.
"""

from __future__ import annotations

from pathlib import Path

from paribus.errors import DataError


def require_contained(path: Path, *roots: Path) -> None:
    """Require that a path, its links followed, is in one of the folders.

    Raises:
        DataError: it leads out of them, or nowhere.
    """
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path}: a symbolic link that leads nowhere; remove it") from error
    if not any(target.is_relative_to(root.resolve()) for root in roots):
        raise DataError(
            f"{path}: a symbolic link that leads out of {roots[0]}; copy the file into the folder "
            "instead"
        )


def listed(folder: Path) -> list[Path]:
    """Return what is in a folder, sorted, without hidden files; links lead nowhere outside.

    Raises:
        DataError: it cannot be listed, or a link leads out of it.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error})") from error
    for path in paths:
        require_contained(path, folder)
    return paths
