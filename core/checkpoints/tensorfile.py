"""Safetensors, read by its header: every size is checked before memory is taken.

The format (a length, a JSON header of dtypes, shapes and offsets, then the values) is small enough
to be read here, and has to be: NumPy has no bfloat16, in which much is published. Sixteen-bit
floats become float32, which holds each of their values exactly.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus.checkpoints.fields import Fields, parse
from paribus.errors import WeightsError, listed

Array = npt.NDArray[Any]

# A header has about a hundred bytes a tensor.
LARGEST_HEADER = 16 * 2**20
METADATA = "__metadata__"
# More axes NumPy does not have, and no file has so many bytes.
MOST_AXES, LARGEST_COUNT = 32, 2**48
BFLOAT16 = "BF16"
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", BFLOAT16: "<u2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """Where a tensor's values stand: ``start`` and ``size`` in bytes of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


class TensorFile:
    """An opened safetensors file; only what is asked for is read.

    Attributes:
        file: its path.
        entries: the tensors by the names that they have in it.

    Raises:
        WeightsError: the file is damaged; the header claims what the file does not hold.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            size = file.stat().st_size
            with file.open("rb") as stream:
                start = stream.read(8)
                length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
                if length > min(size - 8, LARGEST_HEADER):
                    raise self._damaged(f"its header would have {length:,} bytes of {size:,}")
                header = parse(stream.read(length).decode("utf-8"), file)
        except (OSError, UnicodeError) as error:
            raise self._damaged(str(error)) from error
        if not isinstance(header, dict):
            raise self._damaged("its header is not an object")
        header.pop(METADATA, None)
        self.entries = {name: self._entry(name, header, 8 + length) for name in header}
        self._require_back_to_back(8 + length, size)

    @property
    def names(self) -> list[str]:
        """The tensors' names in the file."""
        return list(self.entries)

    def read(self, name: str) -> Array:
        """Read one tensor; float16 and bfloat16 as float32."""
        entry = self.entries[name]
        dtype = np.dtype(DTYPES[entry.dtype])
        try:
            flat: Array = np.fromfile(
                self.file, dtype, entry.size // dtype.itemsize, offset=entry.start
            )
        except OSError as error:
            raise self._damaged(str(error)) from error
        if flat.nbytes != entry.size:
            raise self._damaged(f"{name} is cut off")
        if entry.dtype == BFLOAT16:
            flat = (flat.astype("<u4") << 16).view("<f4")
        elif entry.dtype == "F16":
            flat = flat.astype(np.float32)
        return flat.astype(flat.dtype.newbyteorder("="), copy=False).reshape(entry.shape)

    def _entry(self, name: str, header: dict[str, Any], start: int) -> Entry:
        fields = Fields(header, self.file).inner(name)
        dtype = fields.text("dtype")
        if dtype not in DTYPES:
            raise WeightsError(
                f"{self.file}: {name} has dtype {dtype!r}, which cannot be read; allowed: "
                f"{', '.join(DTYPES)}. Convert it to F32"
            )
        shape, offsets = (self._counts(fields, key) for key in ("shape", "data_offsets"))
        # Without its empty axes, too: NumPy has no array of (0, 2⁴⁸, 2⁴⁸).
        if prod(max(1, axis) for axis in shape) > LARGEST_COUNT:
            raise self._damaged(f"{name} of {dtype} {list(shape)} is larger than any file")
        size = prod(shape) * np.dtype(DTYPES[dtype]).itemsize
        if len(offsets) != 2 or offsets[1] - offsets[0] != size:
            raise self._damaged(f"{name} of {dtype} {shape} does not take {offsets}")
        return Entry(dtype, shape, start + offsets[0], size)

    def _counts(self, fields: Fields, key: str) -> tuple[int, ...]:
        value = fields.values.get(key)
        if (
            not isinstance(value, list)
            or len(value) > MOST_AXES
            or not all(type(n) is int and 0 <= n <= LARGEST_COUNT for n in value)
        ):
            raise fields.wrong(
                key, f"a list of up to {MOST_AXES} whole numbers of at least 0, below 2⁴⁸"
            )
        return tuple(value)

    def _require_back_to_back(self, start: int, size: int) -> None:
        """Require that the tensors fill the file: no gap, no byte that two of them share."""
        place = start
        for name, entry in sorted(self.entries.items(), key=lambda item: item[1].start):
            if entry.start != place and entry.size:
                raise self._damaged(f"{name} shares bytes with another tensor, or leaves some out")
            place = max(place, entry.start + entry.size)
        if place != size:
            raise self._damaged(f"its tensors end at byte {place:,} of {size:,}")

    def _damaged(self, why: str) -> WeightsError:
        return WeightsError(f"{self.file} is not a readable safetensors file: {why}")


class Shards:
    """Several safetensors files that an index makes one.

    Args:
        index: the index's file.
        files: the shards by their names, opened.
        places: which shard has each tensor.

    Raises:
        WeightsError: the index names a tensor that is not there, or leaves one out.
    """

    def __init__(self, index: Path, files: dict[str, TensorFile], places: dict[str, str]) -> None:
        self._files, self._places = files, places
        missing = [name for name, shard in places.items() if name not in files[shard].entries]
        if missing:
            raise WeightsError(f"{index}: not in the shards it names: {listed(missing)}")
        extra = [n for shard, file in files.items() for n in file.names if places.get(n) != shard]
        if extra:
            raise WeightsError(f"{index}: in the shards, but not in the index: {listed(extra)}")

    @property
    def names(self) -> list[str]:
        """The tensors' names in the files."""
        return list(self._places)

    def read(self, name: str) -> Array:
        """Read one tensor; see ``TensorFile``."""
        return self._files[self._places[name]].read(name)
