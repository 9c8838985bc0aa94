"""``metrics.jsonl`` while a run writes it: its rows, and which of its bytes belong to a state.

Rows that a full disk does not take are held in memory and written before the next ones, so that a
run outlives a disk that is full for a while; what is there of a row by then is cut off first.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from io import FileIO
from pathlib import Path

from paribus import durable
from paribus.runstate.records import Mark

# Hours of rows; whoever makes no room for so long gets an error.
LARGEST_HELD = 64 << 20


class RowsFile:
    """An open file of rows.

    Args:
        path: of the file, which is emptied.

    Raises (all methods):
        OSError: it cannot be written.
    """

    def __init__(self, path: Path, mode: str = "wb") -> None:
        self._file = FileIO(path, mode)
        self._path = path
        self._size, self._hash = 0, sha256()
        self._held = bytearray()

    @classmethod
    def reopen(cls, path: Path, kept: Mark) -> RowsFile:
        """Open a file to go on with it; what follows the bytes ``kept`` is cut off."""
        path.touch()
        rows = cls(path, "r+b")
        try:
            while rows._size < kept.size:
                piece = rows._file.read(min(durable.PIECE, kept.size - rows._size))
                if not piece:
                    raise OSError(f"{path.name} has been cut while it was read")
                rows._count(piece)
            rows._file.truncate(kept.size)
            rows._file.seek(kept.size)
        except OSError:
            rows._file.close()
            raise
        return rows

    def write(self, text: bytes, warn: Callable[[str], None]) -> None:
        """Append rows; where the disk is full they are held, which is told once."""
        told = bool(self._held)
        self._held += text
        try:
            self._write_held()
        except OSError as error:
            if not durable.full(error) or len(self._held) > LARGEST_HELD:
                raise
            if not told:
                warn(
                    f"{self._path} cannot be written: {error.strerror}; its rows are held in "
                    "memory until there is room; make room"
                )

    def mark(self) -> Mark:
        """Return what has been written so far, once it is on the disk under its name."""
        self._write_held()
        durable.sync(self._path)
        return Mark(size=self._size, sha256=self._hash.hexdigest())

    def close(self) -> None:
        """Close the file, with all rows."""
        try:
            if not self._file.closed:
                self._write_held()
        finally:
            self._file.close()

    def _write_held(self) -> None:
        if not self._held:
            return
        try:
            durable.put(self._file, bytes(self._held))
        except OSError:
            os.ftruncate(self._file.fileno(), self._size)
            self._file.seek(self._size)
            raise
        self._count(bytes(self._held))
        self._held.clear()

    def _count(self, piece: bytes) -> None:
        self._size += len(piece)
        self._hash.update(piece)
