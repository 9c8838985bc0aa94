"""Rows of token numbers whose count is not known before they are there.

They stay in memory up to a bound. Beyond it they go to a temporary file that has no name, so that
nothing is left behind however the process ends, and are read from it when they are needed. The file
is where ``TMPDIR`` says.
"""

from __future__ import annotations

import os
import tempfile
import time
from math import prod
from typing import IO, Literal

import numpy as np
import numpy.typing as npt

from paribus.data.streamed import Integers, Streamed
from paribus.errors import DataError

Numbers = npt.NDArray[np.int32]
# Rows of more bytes than this go to a file, unless the spec says otherwise.
IN_MEMORY = 1 << 30


class Spool:
    """A growing array of rows int32 of one shape.

    Args:
        shape: of a row.
        memory: ``data.memory`` of the spec: ``load`` keeps everything in memory, ``stream``
            nothing.
    """

    def __init__(self, shape: tuple[int, ...], memory: Literal["auto", "load", "stream"]) -> None:
        self._shape = shape
        self._bound = {"auto": float(IN_MEMORY), "load": float("inf"), "stream": -1.0}[memory]
        self._held: list[Numbers] = []
        self._bytes = 0
        self._file: IO[bytes] | None = None

    def append(self, rows: Numbers) -> None:
        """Add rows int32 [n, *shape], which are copied.

        Raises:
            DataError: there is no room for the file.
        """
        self._held.append(np.array(rows, dtype=np.int32).reshape(-1, *self._shape))
        self._bytes += self._held[-1].nbytes
        if self._bytes > self._bound:
            self._write()

    def finish(self) -> Numbers | Streamed:
        """Return all rows, int32 [N, *shape]; from the file they are read when they are needed."""
        if self._file is None:
            return np.concatenate([np.empty((0, *self._shape), dtype=np.int32), *self._held])
        self._file.flush()
        count = self._bytes // (4 * prod(self._shape))
        # Nobody else has the file, so its number among this process's is name enough.
        told = f"temporary file {self._file.fileno()} of {self._bytes} bytes at {time.time_ns()}"
        shape = (count, *self._shape)
        return Streamed(_Rows(self._file, self._shape), shape, np.dtype(np.int32), lambda: told)

    def _write(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="paribus-")  # noqa: SIM115
            for rows in self._held:
                self._file.write(rows.data)
        except OSError as error:
            raise DataError(
                f"the tokens of the data ({self._bytes} bytes so far) cannot be written to a "
                f"temporary file in {tempfile.gettempdir()} ({error}); set TMPDIR to a folder with "
                "more room"
            ) from error
        self._held.clear()


class _Rows:
    """Reads rows of an open file by their places; the file goes with the last who can read it."""

    def __init__(self, file: IO[bytes], shape: tuple[int, ...]) -> None:
        self._file, self._shape = file, shape

    def __call__(self, rows: Integers) -> Numbers:
        found = np.empty((len(rows), *self._shape), dtype=np.int32)
        size = found[0].nbytes
        for row, number in zip(found, rows.tolist(), strict=True):
            view = row.reshape(-1).view(np.uint8).data
            if os.preadv(self._file.fileno(), [view], number * size) != size:
                raise DataError("the temporary file with the data's tokens is damaged")
        return found
