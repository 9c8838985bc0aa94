"""Frames between two processes: a JSON header and the raw buffers of NumPy arrays.

Two frameworks in one process share threads, memory and crashes, so wherever they are compared
each has a process of its own, and plans and results cross a pipe. Pickle would carry any object,
and any code; a frame carries JSON values and arrays of a closed list of dtypes and nothing else.
Buffers are written and read in place: no copy, no text.

    frame    magic (4 bytes) · header length (u32) · header (UTF-8 JSON) · buffers, back to back
    header   {"value": …, "arrays": [[dtype, shape], …]}; an array in ``value`` is {"$array": index}

Frameworks print. A child therefore takes its stdin and stdout away from them with ``claim`` before
the first import, and whatever is printed later goes to stderr.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from math import prod
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from paribus.errors import BackendError, DataError

Array = npt.NDArray[Any]

MAGIC = b"prb1"
PREFIX = struct.Struct("<4sI")
MARK = "$array"
# Headers hold names, shapes and scalars; a larger one is a defect, not data.
LARGEST_HEADER = 256 * 2**20
LARGEST_ARRAY = 2**48
DTYPES = frozenset(
    np.dtype(code).str
    for code in ("?", "u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8")
)


class Closed(Exception):
    """The other end of the pipe is closed; the caller knows whether that is an error."""


def send(stream: IO[bytes], value: Any) -> None:
    """Write one frame and flush it.

    Args:
        value: dicts with string keys, lists, tuples (they arrive as lists), strings, numbers,
            booleans, None, NumPy scalars (they arrive as Python's) and NumPy arrays.

    Raises:
        DataError: an array's dtype is not one that crosses.
        Closed: the other end is gone.
    """
    arrays: list[Array] = []
    tree = _flatten(value, arrays)
    described = [[array.dtype.str, list(array.shape)] for array in arrays]
    header = json.dumps({"value": tree, "arrays": described}).encode()
    try:
        stream.write(PREFIX.pack(MAGIC, len(header)))
        stream.write(header)
        for array in arrays:
            # reshape: a memoryview can be cast to bytes only when it has no empty axis.
            if array.size:
                stream.write(array.reshape(-1).data.cast("B"))
        stream.flush()
    except (BrokenPipeError, ValueError) as error:
        raise Closed from error


def receive(stream: IO[bytes]) -> Any:
    """Read one frame and return its value; arrays are new and writable.

    Raises:
        Closed: the other end is gone.
        BackendError: what arrived is not a frame.
    """
    magic, size = PREFIX.unpack(_exactly(stream, PREFIX.size))
    if magic != MAGIC or size > LARGEST_HEADER:
        raise BackendError(
            f"the channel to a backend's process is broken: expected a frame, received {magic!r}; "
            "something wrote to its standard output past the claim"
        )
    content = _exactly(stream, size)
    try:
        header = json.loads(content)
        arrays = [_array(stream, dtype, tuple(shape)) for dtype, shape in header["arrays"]]
        return _restore(header["value"], arrays)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, MemoryError) as error:
        raise BackendError(
            f"the channel to a backend's process is broken: a frame's header is none "
            f"({type(error).__name__})"
        ) from error


def claim() -> tuple[IO[bytes], IO[bytes]]:
    """Take stdin and stdout of this process for frames; return (reader, writer).

    Afterwards descriptor 1 is stderr, for Python and for native code alike, and descriptor 0 is
    empty.
    """
    reader, writer = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return reader, writer


def _flatten(value: Any, arrays: list[Array]) -> Any:
    if isinstance(value, np.ndarray):
        little = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
        if little.dtype.str not in DTYPES:
            raise DataError(
                f"an array of dtype {value.dtype} cannot be handed to a backend; "
                "allowed: bool, integers and floats of NumPy"
            )
        # ascontiguousarray makes a scalar array one-dimensional; its shape must survive.
        arrays.append(little.reshape(value.shape))
        return {MARK: len(arrays) - 1}
    if isinstance(value, Mapping):
        return {str(key): _flatten(item, arrays) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_flatten(item, arrays) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _restore(value: Any, arrays: list[Array]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {MARK}:
            return arrays[value[MARK]]
        return {key: _restore(item, arrays) for key, item in value.items()}
    if isinstance(value, list):
        return [_restore(item, arrays) for item in value]
    return value


def _array(stream: IO[bytes], dtype: str, shape: tuple[int, ...]) -> Array:
    whole = all(type(size) is int and size >= 0 for size in shape)
    if dtype not in DTYPES or not whole or prod(shape) > LARGEST_ARRAY:
        raise BackendError(f"a backend's process sent an array of {dtype!r:.80}; refused")
    flat = np.empty(prod(shape), dtype=dtype)
    view = flat.view(np.uint8).data if flat.size else memoryview(b"")
    filled = 0
    while filled < len(view):
        count = stream.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            raise Closed
        filled += count
    return flat.reshape(shape)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise Closed
    return data
