"""One entry of the folder of features: how it is written, and how it is read and checked."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from paribus import durable
from paribus.filenames import is_odd

Array = npt.NDArray[Any]

NUMBERS, ENTRY = "features.bin", "entry.json"
FORMAT = 1
MOST_AXES = 8
# What is read of an entry's description; it has some hundred bytes, and two words a batch.
LARGEST = 1 << 24
_DTYPES = ("<f4", "<f8")


@dataclass
class Kept:
    """Features that can be used.

    Attributes:
        values: [places, *shape], mapped; writing to it changes nothing on the disk.
        same: batches, as ``computing`` names them → whether their arithmetic is that of these.
    """

    values: Array
    same: dict[str, bool] = field(default_factory=dict)


class Writer:
    """A new entry, written from its first place to its last."""

    def __init__(
        self, path: Path, staged: Path, file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self._path, self._staged, self._file = path, staged, file
        self._shape, self._dtype, self._digest = shape, dtype.newbyteorder("<"), sha256()

    def write(self, values: Array) -> None:
        """Append values [n, *shape]."""
        data = np.ascontiguousarray(values, dtype=self._dtype).reshape(-1).view(np.uint8).data
        self._digest.update(data)
        self._file.write(data)

    def read(self, places: npt.NDArray[np.int64]) -> Array:
        """Return values that were written, [n, *shape]."""
        self._file.flush()
        width = prod(self._shape[1:]) * self._dtype.itemsize
        rows = [os.pread(self._file.fileno(), width, place * width) for place in places.tolist()]
        return np.frombuffer(b"".join(rows), self._dtype).reshape(-1, *self._shape[1:])

    def finish(self, about: Mapping[str, Any], same: Mapping[str, bool]) -> Kept:
        """Put the entry into its place and return it.

        Raises:
            OSError: it cannot be written.
        """
        self._file.flush()
        os.fsync(self._file.fileno())
        told = {
            "format": FORMAT,
            "shape": list(self._shape),
            "dtype": self._dtype.str,
            "sha256": self._digest.hexdigest(),
            "about": dict(about),
            "same": dict(same),
        }
        durable.write(self._staged / ENTRY, json.dumps(told))
        values = np.memmap(self._staged / NUMBERS, self._dtype, "c", shape=self._shape)
        durable.sync(self._staged)
        try:
            durable.replace_folder(self._staged, self._path)
        except OSError:
            # Another process was faster, or has emptied the folder: the numbers are here all the
            # same, and stay for as long as they are mapped.
            if not self._staged.is_dir() and not self._path.is_dir():
                raise
        return Kept(values, dict(same))


def described(path: Path) -> dict[str, Any]:
    """Read what an entry says of itself.

    Raises:
        OSError, ValueError: it cannot be read, or is no JSON object.
    """
    if is_odd(path / ENTRY):
        raise ValueError(f"{ENTRY} is no plain file")
    with (path / ENTRY).open("rb") as file:
        text = file.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise ValueError(f"{ENTRY} has more than {LARGEST} bytes")
    try:
        told = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"{ENTRY} is nested too deeply") from error
    if not isinstance(told, dict):
        raise ValueError(f"{ENTRY} is no JSON object")
    return told


def mapped(path: Path, told: Mapping[str, Any]) -> Kept:
    """Map an entry's numbers after looking at every bit of them."""
    if told["format"] != FORMAT:
        raise ValueError(f"format {told['format']!r}, not {FORMAT}")
    shape, dtype = tuple(told["shape"]), told["dtype"]
    whole = all(type(size) is int and 1 <= size < 1 << 48 for size in shape)
    if dtype not in _DTYPES or not whole or not 1 <= len(shape) <= MOST_AXES:
        raise ValueError(f"dtype {dtype!r} and shape {shape}")
    size = prod(shape) * np.dtype(dtype).itemsize
    if is_odd(path / NUMBERS):
        raise ValueError(f"{NUMBERS} is no plain file")
    with (path / NUMBERS).open("rb") as file:
        found = os.fstat(file.fileno()).st_size
        if found != size:
            raise ValueError(f"{found:,} bytes instead of {size:,}")
        digest = sha256()
        while piece := file.read(durable.PIECE):
            digest.update(piece)
        if digest.hexdigest() != told["sha256"]:
            raise ValueError("its SHA-256 is another")
        values = np.memmap(file, dtype, "c", shape=shape)
    same = {str(batch): value is True for batch, value in told["same"].items()}
    return Kept(values, same)
