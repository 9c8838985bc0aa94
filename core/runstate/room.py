"""Whether a run's folder can be written, and has room for what the run will keep in it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from paribus.errors import RunFolderError


def require_room(folder: Path, state: int, keep: int) -> None:
    """Require that a folder can be written and holds the checkpoints of a run.

    Nothing is made that has a name.

    Args:
        folder: the run's, or one above it; it need not exist.
        state: bytes of the largest checkpoint.
        keep: checkpoints that are kept; one more is written before the oldest goes, and final
            weights are no larger than one.

    Raises:
        RunFolderError: it cannot be written, or there is less room.
    """
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            free = shutil.disk_usage(place).free
    except OSError as error:
        raise RunFolderError(
            f"the run folder {folder} cannot be written: {error.strerror or error}; choose another "
            "place with --out"
        ) from error
    needed = (keep + 2) * state
    if free < needed:
        raise RunFolderError(
            f"{place} has {free / 2**20:,.0f} MiB left, but checkpoints and weights of this run "
            f"take up to {needed / 2**20:,.0f} MiB; make room, or choose another place with --out"
        )
