"""The idx format of the MNIST family, as its authors describe it, and nothing looser.

A file is: two zero bytes, a type code, the number of dimensions, each dimension as a big-endian
32-bit number, then the elements in row-major order. Only unsigned bytes (type 8) occur in the
files that we read. The header is not believed: the length must match it exactly, and no memory is
taken for elements that are not in the file.
"""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from paribus.data.memory import available
from paribus.errors import DataError

_UNSIGNED_BYTE = 8
# More than any file of the family; a compressed header could otherwise promise 10¹⁸ bytes.
MAXIMUM_BYTES = 1 << 32
PIECE = 1 << 20


class Readable(Protocol):
    """A binary stream."""

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes."""


def read(path: Path, shape: tuple[int | None, ...]) -> npt.NDArray[np.uint8]:
    """Read an idx file of unsigned bytes, compressed if its name ends in ``.gz``.

    Args:
        path: the file.
        shape: the expected shape, None where any size is good.

    Raises:
        DataError: unreadable, damaged, or of another type, shape or length.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            return parse(file, shape, str(path))
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); the file is damaged or incomplete, fetch it again"
        ) from error


def parse(file: Readable, shape: tuple[int | None, ...], name: str) -> npt.NDArray[np.uint8]:
    """Parse an idx stream; ``name`` is for error messages. See ``read``."""
    magic = file.read(4)
    expected = bytes([0, 0, _UNSIGNED_BYTE, len(shape)])
    if magic != expected:
        raise DataError(
            f"{name}: starts with bytes {magic.hex(' ') or '(none)'}, but an idx file of unsigned "
            f"bytes in {len(shape)} dimensions starts with {expected.hex(' ')}; this is another "
            "kind of file"
        )
    header = file.read(4 * len(shape))
    if len(header) < 4 * len(shape):
        raise DataError(f"{name}: ends within its header; the file is incomplete, fetch it again")
    sizes = tuple(int(size) for size in np.frombuffer(header, dtype=">u4"))
    if any(want not in (None, size) for want, size in zip(shape, sizes, strict=True)):
        allowed = "×".join("any" if want is None else str(want) for want in shape)
        raise DataError(
            f"{name}: holds an array of {'×'.join(map(str, sizes))}, expected {allowed}"
        )
    length = prod(sizes)
    most = min(MAXIMUM_BYTES, available())
    if length > most:
        raise DataError(f"{name}: its header promises {length} bytes; allowed: up to {most}")
    # One byte more than promised shows that a file is too long without reading the rest of it.
    content = _up_to(length + 1, file)
    if len(content) != length:
        found = f"only {len(content)}" if len(content) < length else "more than that"
        raise DataError(
            f"{name}: its header promises {length} bytes, but {found} follow; the file is "
            "damaged or incomplete, fetch it again"
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(sizes)


def _up_to(size: int, file: Readable) -> bytearray:
    """Return so many bytes, or all that there are: a stream takes the room for them beforehand."""
    content = bytearray()
    while piece := file.read(min(PIECE, size - len(content))):
        content += piece
    return content
