"""A run folder is written where it is: no name in it may be a link to somewhere else.

A run goes on in folders that other people made. A link called ``metrics.jsonl`` would have its
target cut off and written to, one called ``result.json.partial`` its target replaced, and one
called ``checkpoints/models`` would put gigabytes elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from paribus.errors import RunFolderError


def require_own_files(folder: Path, names: Iterable[str], checkpoints: Path) -> None:
    """Require that what a run writes in ``folder`` is no link.

    Args:
        folder: of the run; may itself be reached through links, for the user has named it.
        names: of files that a run writes, each also with ``.partial`` behind it.
        checkpoints: the folder of its checkpoints; need not exist.

    Raises:
        RunFolderError: something is a link; it says which, and where to.
        OSError: the folders cannot be listed.
    """
    for path in _written(folder, names, checkpoints):
        if path.is_symlink():
            raise RunFolderError(
                f"{path} is a link to {path.readlink()}; a run writes into its own folder only. "
                "Put what it means in its place, or remove it"
            )


def _written(folder: Path, names: Iterable[str], checkpoints: Path) -> Iterator[Path]:
    for name in names:
        yield folder / name
        yield folder / f"{name}.partial"
    yield checkpoints
    if checkpoints.is_dir():
        for path in checkpoints.iterdir():
            yield path
            if path.is_dir() and not path.is_symlink():
                yield from path.iterdir()
