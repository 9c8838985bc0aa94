"""Texts of a source: taken by row, or read through in pieces that are never large.

A document may be a book or a whole corpus; tokens are made of a stretch of it at a time. Where that
ends is decided by the document's characters alone: at the end of a line where there is one, which
makes no difference to the tokens of the tokenizers that are trained here.
"""

from __future__ import annotations

import codecs
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from paribus.data.dataset import Integers
from paribus.data.tables.encoding import require_utf8
from paribus.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

# Characters of a piece at most: while the library works on a text it takes hundreds of bytes for
# each of its characters.
PIECE = 1 << 17
_ROWS = 1024
_CHUNK = 1 << 20


class Piece(NamedTuple):
    """A stretch of a document, and whether the document ends with it."""

    text: str
    last: bool


class Documents(ABC):
    """Texts, by row.

    Attributes:
        columns: texts of a row: 1, or 2 for pairs.
    """

    columns: int = 1

    @abstractmethod
    def pieces(self, rows: Integers) -> Iterator[Piece]:
        """Read through the rows' texts, in order; both texts of a pair are documents."""

    @abstractmethod
    def take(self, rows: Integers) -> Sequence[str] | Sequence[tuple[str, str]]:
        """Return the texts of some rows, or the pairs."""


class Columns(Documents):
    """Texts in columns of a table: one ``pyarrow.LargeStringArray`` per text of a row."""

    def __init__(self, arrays: Sequence[pa.LargeStringArray]) -> None:
        self._arrays = arrays
        self.columns = len(arrays)

    def pieces(self, rows: Integers) -> Iterator[Piece]:
        """Read through the rows' texts, in order."""
        for start in range(0, len(rows), _ROWS):
            for row in zip(*self._taken(rows[start : start + _ROWS]), strict=True):
                for text in row:
                    starts = range(0, max(1, len(text)), PIECE)
                    yield from cut(text[start : start + PIECE] for start in starts)

    def take(self, rows: Integers) -> Sequence[str] | Sequence[tuple[str, str]]:
        """Return the texts of some rows, or the pairs."""
        taken = self._taken(rows)
        return taken[0] if len(taken) == 1 else list(zip(taken[0], taken[1], strict=True))

    def _taken(self, rows: Integers) -> list[list[str]]:
        import pyarrow as pa

        return [array.take(pa.array(rows)).to_pylist() for array in self._arrays]


class Files(Documents):
    """Text files in UTF-8, each a document."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths

    def pieces(self, rows: Integers) -> Iterator[Piece]:
        """Read through files, in order."""
        for row in rows:
            yield from cut(_chunks(self._paths[row]))

    def take(self, rows: Integers) -> Sequence[str]:
        """Return the texts of some files."""
        return ["".join(_chunks(self._paths[row])) for row in rows]


def cut(chunks: Iterable[str]) -> Iterator[Piece]:
    """Divide one document, however it comes, into pieces of at most ``PIECE`` characters."""
    held = ""
    for chunk in chunks:
        held += chunk
        while len(held) > PIECE:
            end = _end(held)
            yield Piece(held[:end], False)
            held = held[end:]
    yield Piece(held, True)


def _end(text: str) -> int:
    """Return where to cut: after a line, best one that neither begins nor ends with a space."""
    lines = end = text.rfind("\n", PIECE // 2, PIECE)
    while end > 0:
        if not text[end - 1].isspace() and not text[end + 1].isspace():
            return end + 1
        end = text.rfind("\n", PIECE // 2, end)
    space = text.rfind(" ", PIECE // 2, PIECE)
    # Byte-level BPE keeps a space with the word that follows.
    return lines + 1 if lines > 0 else space if space > 0 else PIECE


def _chunks(path: Path) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield decoder.decode(chunk)
            yield decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        require_utf8(path)
        raise
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
