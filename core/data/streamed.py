"""Examples that are read when they are needed, for data that is larger than the memory.

To most of core they are an array: a shape, a type, a length, and rows by their numbers. Reading
returns fresh memory, a bounded number of rows at a time is the caller's business, and nothing is
kept. What happens to each row by itself (resizing, a channel axis, another float type) is done as
the rows are read, by the same functions as for examples in memory, so the numbers are the same.

Reading is safe in several threads at once. A source notices that its file has changed since it was
listed (``paribus.data.contents``): half of a run on other data would be a result of nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from paribus.errors import DataError

Array = npt.NDArray[Any]
Integers = npt.NDArray[np.int64]

# Rows that are looked at once and forgotten: memory for them, and again for what is made of them.
PIECE_BYTES = 32 << 20


class Streamed:
    """An array-like whose rows (first axis) are read when they are asked for.

    Attributes:
        shape, dtype, ndim, nbytes: of the whole, as NumPy has them.
    """

    def __init__(
        self,
        read: Callable[[Integers], Array],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        fingerprint: Callable[[], str],
        changed: Callable[[], str | Path | None] = lambda: None,
    ) -> None:
        """Describe examples.

        Args:
            read: rows int64 [n] (within bounds, in any order, not empty) → their examples
                [n, *shape[1:]].
            shape, dtype: of all examples.
            fingerprint: returns what tells these examples from others.
            changed: looks at the files; returns one that holds other bytes than it did when the
                fingerprint was asked for, or None.
        """
        self._read, self._fingerprint, self.changed = read, fingerprint, changed
        self.shape, self.dtype = shape, dtype

    @classmethod
    def of(cls, x: Array | Streamed) -> Streamed:
        """Return ``x`` itself, or an array in memory with this interface."""
        if isinstance(x, Streamed):
            return x
        array = x
        return cls(
            lambda rows: array[rows],
            array.shape,
            array.dtype,
            lambda: hashlib.sha256(np.ascontiguousarray(array).data).hexdigest(),
        )

    @cached_property
    def fingerprint(self) -> str:
        """What tells these examples from others.

        Of files it is their contents, as ``paribus.data.contents`` looks at them; where that is not
        all of them, their sizes and times of change besides. Names and places are no part of it.
        """
        return self._fingerprint()

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that all examples would take."""
        return len(self) * row_bytes(self)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Integers | slice) -> Array:
        """Read rows.

        Raises:
            IndexError: a row that is not there.
            DataError: the file has changed, is gone, or is damaged.
        """
        if isinstance(rows, slice):
            rows = np.arange(len(self), dtype=np.int64)[rows]
        if len(rows) == 0:
            return np.empty((0, *self.shape[1:]), self.dtype)
        if rows.min() < 0 or rows.max() >= len(self):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {len(self)} examples")
        return self._read(rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """Read everything, for ``numpy.asarray``."""
        return np.asarray(self[:], dtype=dtype)

    def chosen(self, rows: Integers) -> Streamed:
        """Return some of the examples, numbered anew."""
        if len(rows) == len(self) and bool((rows == np.arange(len(self))).all()):
            return self
        return Streamed(
            lambda wanted: self[rows[wanted]],
            (len(rows), *self.shape[1:]),
            self.dtype,
            lambda: f"{self.fingerprint}|rows:{hashlib.sha256(rows.tobytes()).hexdigest()}",
            self.changed,
        )

    def mapped(self, change: Callable[[Array], Array], what: str) -> Streamed:
        """Return the examples after a change of each by itself.

        Args:
            change: [n, …] → [n, …], the same for every n; the first example is read to see what
                becomes of it.
            what: the change, for the fingerprint.
        """
        first = change(self[:1])
        return Streamed(
            lambda rows: change(self[rows]),
            (len(self), *first.shape[1:]),
            first.dtype,
            lambda: f"{self.fingerprint}|{what}",
            self.changed,
        )


Examples = Array | Streamed


def row_bytes(x: Examples) -> int:
    """Return the bytes of one example."""
    return prod(x.shape[1:]) * x.dtype.itemsize


def pieces(x: Examples, rows: Integers) -> Iterator[Array]:
    """Yield the examples of ``rows``, a bounded number at a time."""
    step = max(1, PIECE_BYTES // max(1, row_bytes(x)))
    for start in range(0, len(rows), step):
        yield x[rows[start : start + step]]


def joined(parts: Sequence[Streamed]) -> Streamed:
    """Return the examples of several parts, one after the other; all of one shape and type."""
    if len(parts) == 1:
        return parts[0]
    ends = np.cumsum([len(part) for part in parts])
    shape, dtype = (int(ends[-1]), *parts[0].shape[1:]), parts[0].dtype

    def read(rows: Integers) -> Array:
        found = np.empty((len(rows), *shape[1:]), dtype)
        which = np.searchsorted(ends, rows, side="right")
        for number, part in enumerate(parts):
            here = which == number
            found[here] = part[rows[here] - (ends[number] - len(part))]
        return found

    return Streamed(
        read,
        shape,
        dtype,
        lambda: "|".join(part.fingerprint for part in parts),
        lambda: next((path for part in parts if (path := part.changed()) is not None), None),
    )


class Stamp(NamedTuple):
    """By what a change of a file is noticed."""

    size: int
    changed: int  # nanoseconds since 1970

    @classmethod
    def of(cls, file: str | Path | int) -> Stamp:
        """Return the stamp of a file, by its name or its descriptor.

        Raises:
            DataError: it cannot be looked at.
        """
        try:
            found = os.stat(file)
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror})") from error
        return cls(found.st_size, found.st_mtime_ns)

    def require(
        self, file: str | Path, now: Stamp, holds: Callable[[], bool] = lambda: False
    ) -> Stamp:
        """Require that a file is as it was; return its stamp now.

        Args:
            file: for the message.
            now: its stamp.
            holds: whether it is known to have the bytes that it had; asked where only its time
                has changed.

        Raises:
            DataError: it has changed.
        """
        if now == self or (now.size == self.size and holds()):
            return now
        raise DataError(
            f"{file}: has changed while the run was reading from it: it was {self}, and is "
            f"{now} now. Bring it back as it was, with its time of change (cp -p), and go "
            "on, or begin anew; leave data alone until a run is over"
        )

    def __str__(self) -> str:
        """Say it for people."""
        when = datetime.fromtimestamp(self.changed / 1e9).isoformat(" ", "microseconds")
        return f"of {self.size:,} bytes, changed {when}"
