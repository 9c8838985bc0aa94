"""A folder of somebody else's files: what may be opened in it.

A name that comes from a file (an index of shards) could point anywhere, and so can a symbolic
link. Both are followed only to where they belong: inside of the folder, or, for a snapshot in the
cache of Hugging Face's hub, inside of that repository's part of the cache, which is made of links.
"""

from __future__ import annotations

import re
from pathlib import Path

from paribus.checkpoints.fields import Fields, read_fields
from paribus.errors import WeightsError

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,200}")


class Folder:
    """A folder whose files are opened by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = _boundary(path.resolve())

    def has(self, name: str) -> bool:
        """Return whether there is something of that name, a broken link included."""
        return (self.path / name).exists() or (self.path / name).is_symlink()

    def file(self, name: str) -> Path:
        """Return the path of a file below the folder; ``name`` is ours, not a file's.

        Raises:
            WeightsError: there is none, it is not a file, or it is a link that leads elsewhere.
        """
        path = self.path / name
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise WeightsError(f"{self.path} has no readable {name}") from error
        if not real.is_relative_to(self._root):
            raise WeightsError(
                f"{path} is a link that leads out of the folder, to {real}; refused. Copy the file "
                "into the folder"
            )
        if not real.is_file():
            raise WeightsError(f"{path} is not a file")
        return path

    def named(self, name: str, by: Path) -> Path:
        """Return the path of a file that another file, ``by``, names.

        Raises:
            WeightsError: the name is not a plain one, or as ``file``.
        """
        return self.file(_plain(name, by))

    def inner(self, name: str, by: Path) -> Folder:
        """Return a folder inside of this one that a file, ``by``, names.

        Raises:
            WeightsError: the name is not a plain one.
        """
        found = Folder(self.path / _plain(name, by))
        # Whatever it is a link to, its files may lead no further than this folder's.
        found._root = self._root
        return found

    def fields(self, name: str) -> Fields:
        """Return the object in a JSON file."""
        return read_fields(self.file(name))


def _plain(name: str, by: Path) -> str:
    if not _PLAIN.fullmatch(name):
        raise WeightsError(
            f"{by} names {name[:200]!r}; allowed: a plain name of letters, digits, '_', '-' and "
            "'.', in the same folder"
        )
    return name


def _boundary(folder: Path) -> Path:
    """Return what links may lead to: ``models--owner--name/snapshots/REVISION`` shares blobs."""
    cache = folder.parent.parent
    cached = folder.parent.name == "snapshots" and cache.name.startswith("models--")
    return cache if cached else folder
