"""Rows of an array that lies uncompressed in a file, read by their place.

The file is not mapped into memory: mapped pages would count as memory of the process, and a file
that becomes shorter would end the process without a word. Rows that are neighbours are read in one
call. The system is told which rows are wanted before the first one is waited for, so that a disk
can fetch many at once, and not to read on beyond them: the next rows are somewhere else.

What was read stays in the system's own cache, which costs the process nothing, unless the file is
larger than the memory: then it would only push out what others need.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from paribus.data.contents import Contents
from paribus.data.memory import available
from paribus.data.streamed import Array, Integers, Stamp, Streamed
from paribus.errors import DataError

_ADVICE = hasattr(os, "posix_fadvise")  # not on macOS


@dataclass
class Stored:
    """An array in a file, in C order.

    Attributes:
        offset: of its first byte in the file.
        stamp: of the file when the offset was found, or when it was found unchanged since.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stamp: Stamp

    def streamed(self) -> Streamed:
        """Return the array as examples that are read when they are needed."""
        return Streamed(
            self.read, self.shape, self.dtype, self._fingerprint, self._contents.changed
        )

    @cached_property
    def _contents(self) -> Contents:
        size = prod(self.shape) * self.dtype.itemsize
        return Contents.of_part(self.path, self.offset, size)

    def _fingerprint(self) -> str:
        """Hash the array, and see that it stayed as it was found."""
        found = self._contents.sha256()
        self.stamp.require(self.path, Stamp.of(self.path))
        return repr((self.shape, self.dtype.str, found, () if self._contents.whole else self.stamp))

    def read(self, rows: Integers) -> Array:
        """Return rows int64 [n] as [n, …].

        Raises:
            DataError: the file is gone, has changed, or is too short.
        """
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        size = prod(self.shape[1:]) * self.dtype.itemsize
        # Where neighbours begin and end among the rows, and where they lie.
        begins = np.flatnonzero(np.diff(rows, prepend=rows[0] - 2) != 1)
        ends = np.append(begins[1:], len(rows))
        places = (self.offset + rows[begins] * size).tolist()
        runs = list(zip(places, (begins * size).tolist(), (ends * size).tolist(), strict=True))
        target = found.reshape(-1).view(np.uint8).data
        try:
            file = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror})") from error
        try:
            self._advise(file, runs)
            for place, begin, end in runs:
                self._fill(file, target[begin:end], place)
            # Afterwards, so that a change during the reading is seen too.
            self._require(file)
            if _ADVICE and self.stamp.size > available():
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror})") from error
        finally:
            os.close(file)
        return found

    def _require(self, file: int) -> None:
        self.stamp = self.stamp.require(self.path, Stamp.of(file), self._contents.holds)

    @staticmethod
    def _advise(file: int, runs: list[tuple[int, int, int]]) -> None:
        if _ADVICE:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
            for place, begin, end in runs:
                os.posix_fadvise(file, place, end - begin, os.POSIX_FADV_WILLNEED)

    def _fill(self, file: int, target: memoryview, place: int) -> None:
        done = 0
        # A single call reads less than 2 GiB, and less where a signal comes in between.
        while done < len(target):
            count = os.preadv(file, [target[done:]], place + done)
            if count == 0:
                self._require(file)
                raise DataError(f"{self.path}: ends before its last row; the file is damaged")
            done += count
