"""An image as a stream: a file's, or bytes that stand in a table."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa


class Encoded(NamedTuple):
    """The bytes of an image file; ``str()`` is what error messages call it."""

    name: str
    content: pa.Buffer

    def __str__(self) -> str:
        return self.name


class File(io.BufferedReader):
    """A file that is never asked for more than it has.

    Streams take the room for what they are asked for beforehand, and Pillow asks for as much as a
    number in the file says.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._path, self._size = path, os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to ``size`` bytes."""
        left = max(0, self._size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))

    def __repr__(self) -> str:
        """Return what Pillow's messages call it."""
        return repr(str(self._path))


def opened(image: Path | Encoded) -> io.BufferedReader | io.BytesIO:
    """Return what Pillow can open; bytes are copied only now."""
    return File(image) if isinstance(image, Path) else io.BytesIO(image.content)
