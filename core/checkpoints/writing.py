"""Safetensors, written: a header of names, dtypes, shapes and offsets, then the values.

The bytes are those of the ``safetensors`` package: tensors of wide dtypes first, each group by
name, so that every tensor is aligned. It is written here, piece by piece, because the file is
hashed on its way to the disk and is never a second time in memory.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus import durable
from paribus.checkpoints.tensorfile import BFLOAT16, DTYPES, METADATA
from paribus.errors import WeightsError

Array = npt.NDArray[Any]

_NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items() if name != BFLOAT16}
# The format's own order of dtypes, among those of one width.
_ORDER = (
    *("BOOL", "U8", "I8", "I16", "U16", "F16", BFLOAT16),
    *("I32", "U32", "F32", "F64", "I64", "U64"),
)


def write(path: Path, tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> str:
    """Write a file of tensors and wait until it is on the disk; return its SHA-256.

    Args:
        path: of the file, which is replaced if it is there.
        tensors: by name, of any dtype that the format has but bfloat16.
        metadata: what the header says besides.

    Raises:
        OSError: it cannot be written; what was written of it is still there.
        WeightsError: a tensor has a dtype that the format has not.
    """
    digest = sha256()
    with path.open("wb", buffering=0) as file:
        for piece in _pieces(tensors, metadata):
            digest.update(piece)
            durable.put(file, piece)
        os.fsync(file.fileno())
    return digest.hexdigest()


def _pieces(
    tensors: Mapping[str, Array], metadata: Mapping[str, str]
) -> Iterator[bytes | memoryview]:
    kinds = {name: _kind(name, array) for name, array in tensors.items()}
    order = sorted(tensors, key=lambda name: (-_ORDER.index(kinds[name]), name.encode()))
    header: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    place = 0
    for name in order:
        end = place + tensors[name].nbytes
        header[name] = {
            "dtype": kinds[name],
            "shape": list(tensors[name].shape),
            "data_offsets": [place, end],
        }
        place = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield struct.pack("<Q", len(text)) + text
    for name in order:
        array = tensors[name]
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        if little.nbytes:
            yield little.reshape(-1).view(np.uint8).data


def _kind(name: str, array: Array) -> str:
    found = _NAMES.get(array.dtype.newbyteorder("<"))
    if found is None:
        raise WeightsError(
            f"{name} has dtype {array.dtype}, which safetensors has not; allowed: "
            f"{', '.join(str(dtype) for dtype in _NAMES)}"
        )
    return found
