"""What the files that rows are read from hold: the hash of it, and whether it is still that.

A file's size and time of change say at once that somebody wrote to it, and they can be wrong both
ways: a file that was only touched is as it was, and one that was unpacked or synchronised may have
the old size and time with other bytes. So the bytes decide, where they are known. They are hashed
when a run looks at its data first, when it goes on, and at its end; never while it trains, unless a
file's time says that something happened.

Up to ``LIMIT`` bytes everything is hashed; of more, pieces that lie evenly spread, as many as fit.
That finds data that was made anew, and may miss a change of a few examples.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from paribus.data.parallel import parallel
from paribus.errors import DataError

LIMIT = 4 << 30
# Bytes of one file that are one piece, and those that are read at a time.
PIECE_BYTES, BUFFER = 16 << 20, 1 << 20
_DIGEST = sha256().digest_size


class Piece(NamedTuple):
    """Neighbouring bytes of a file."""

    path: str | Path
    offset: int
    size: int


class Contents:
    """Pieces of files, in an order.

    Args:
        where: number of a piece → the piece.
        sizes: their bytes.
    """

    def __init__(self, where: Callable[[int], Piece], sizes: Sequence[int]) -> None:
        self._where = where
        every = max(1, -(-sum(sizes) // LIMIT))
        self._hashed = range(0, len(sizes), every)
        self.whole = every == 1
        self._known: npt.NDArray[Any] | None = None

    @classmethod
    def of_part(cls, path: Path, offset: int, size: int) -> Contents:
        """Return the contents of a part of one file."""
        starts = range(0, size, PIECE_BYTES)
        sizes = [min(PIECE_BYTES, size - start) for start in starts]
        return cls(lambda number: Piece(path, offset + starts[number], sizes[number]), sizes)

    def sha256(self) -> str:
        """Return the hash of what is looked at, in hexadecimal; the first call remembers it.

        Raises:
            DataError: a file cannot be read.
        """
        if self._known is None:
            # 32 bytes a piece; objects would be three times that.
            found = parallel(self._digest, self._hashed)
            self._known = np.frombuffer(b"".join(found), np.uint8).reshape(-1, _DIGEST)
        return sha256(self._known.tobytes()).hexdigest()

    def holds(self, number: int | None = None) -> bool:
        """Whether a piece, or each of all, is known by its bytes and has them still."""
        if self._known is None or not (self.whole if number is None else number in self._hashed):
            return False
        try:
            return self.changed(self._hashed if number is None else [number]) is None
        except DataError:
            return False

    def changed(self, numbers: Sequence[int] | None = None) -> str | Path | None:
        """Return a file whose bytes are not what ``sha256`` has found first; None for none.

        Args:
            numbers: of pieces to look at; by default all that were hashed.

        Raises:
            DataError: a file cannot be read.
        """
        if self._known is None:
            return None
        wanted = self._hashed if numbers is None else numbers
        for number, digest in zip(wanted, parallel(self._digest, wanted), strict=True):
            if self._known[self._hashed.index(number)].tobytes() != digest:
                return self._where(number).path
        return None

    def _digest(self, number: int) -> bytes:
        piece, digest = self._where(number), sha256()
        try:
            with open(piece.path, "rb", buffering=0) as file:
                place, end = piece.offset, piece.offset + piece.size
                while place < end:
                    found = os.pread(file.fileno(), min(BUFFER, end - place), place)
                    if not found:
                        break  # shorter than it was, which is another hash
                    digest.update(found)
                    place += len(found)
        except OSError as error:
            raise DataError(f"{piece.path}: cannot be read ({error.strerror})") from error
        return digest.digest()
