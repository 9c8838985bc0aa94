"""The arrays of an ``.npz`` file, headers first: what it promises is checked before it is read."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from paribus.closing import Closing
from paribus.data.dataset import Array
from paribus.data.memory import available
from paribus.data.stored import Stored
from paribus.data.streamed import Stamp
from paribus.errors import DataError
from paribus.filenames import is_file

# A small compressed file can hold petabytes of zeros; nothing that fits this machine is refused.
MAXIMUM_BYTES = 1 << 36
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LOCAL_HEADER = struct.Struct("<4s22x2H")
_LOCAL_SIGNATURE = b"PK\x03\x04"
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class Header(NamedTuple):
    """Shape and type of a stored array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Archive(Closing):
    """An open ``.npz`` file; a context manager. Membership and iteration are over array names.

    Raises:
        DataError: no such file, not a zip archive, damaged, or compressed in a way that NumPy
            does not write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not is_file(path):
            raise DataError(f"data.path = {str(path)!r}: there is no such file")
        self._stamp = Stamp.of(path)
        with self._explained(None):
            self._zip = zipfile.ZipFile(path)
        self._members: dict[str, zipfile.ZipInfo] = {}
        for info in self._zip.infolist():
            name = info.filename.removesuffix(".npy")
            if name in self._members:
                raise DataError(f"{path}: has two arrays called {name}; write the file again")
            self._members[name] = info

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def listed(self) -> str:
        """Return the arrays' names, for error messages."""
        return ", ".join(self._members) or "no arrays"

    def header(self, name: str) -> Header:
        """Return shape and type without reading the array.

        Raises:
            DataError: Python objects, or a size that the header and the archive disagree on.
        """
        with self._open(name) as file:
            return self._header(name, file)[0]

    def read(self, name: str) -> Array:
        """Return the array.

        Raises:
            DataError: as ``header``, and damaged contents.
        """
        with self._open(name) as file:
            (shape, dtype), _ = self._header(name, file)
        size = prod(shape) * dtype.itemsize
        packed = self._members[name].compress_type != zipfile.ZIP_STORED
        allowed = min(MAXIMUM_BYTES, available()) if packed else MAXIMUM_BYTES
        if size > allowed:
            raise DataError(
                f"{self.path}: {name} would take {size} bytes of memory; allowed: up to "
                f"{allowed}. Split the file, or store it uncompressed (numpy.savez) so that it can "
                "be read when it is needed"
            )
        with self._open(name) as file:
            return np.asarray(npy.read_array(file, allow_pickle=False))

    def stored(self, name: str) -> Stored:
        """Return where the array lies in the file, to read rows of it; its checksum is not read.

        Raises:
            DataError: as ``header``; it is compressed, or not in C order, or ends too early.
        """
        info = self._members[name]
        with self._open(name) as file:
            (shape, dtype), fortran = self._header(name, file)
            begins = file.tell()
        size = prod(shape) * dtype.itemsize
        if info.compress_type != zipfile.ZIP_STORED:
            raise DataError(
                f"{self.path}: {name} takes {size} bytes and is compressed, so that its rows "
                "cannot be read when they are needed. Store it uncompressed, with numpy.savez, or "
                "read it all into memory with data.memory = 'load'"
            )
        if fortran:
            raise DataError(
                f"{self.path}: {name} takes {size} bytes and is stored in Fortran order, in which "
                "no example lies in one piece, so that its rows cannot be read when they are "
                "needed. Store numpy.ascontiguousarray(x), or read it all into memory with "
                "data.memory = 'load'"
            )
        with self._explained(name), self.path.open("rb") as raw:
            raw.seek(info.header_offset)
            signature, *lengths = _LOCAL_HEADER.unpack(raw.read(_LOCAL_HEADER.size))
        offset = info.header_offset + _LOCAL_HEADER.size + sum(lengths) + begins
        if signature != _LOCAL_SIGNATURE or offset + size > self._stamp.size:
            raise DataError(f"{self.path}: ends before the array {name} does; the file is damaged")
        return Stored(self.path, offset, shape, dtype, self._stamp)

    def _header(self, name: str, file: IO[bytes]) -> tuple[Header, bool]:
        """Return the header and whether the array is in Fortran order."""
        info = self._members[name]
        version = npy.read_magic(file)
        if version not in _HEADERS:
            raise DataError(f"{self.path}: {name} is in npy format {version}; allowed: 1.0 and 2.0")
        shape, fortran, dtype = _HEADERS[version](file)
        if dtype.hasobject:
            raise DataError(
                f"{self.path}: {name} holds Python objects (dtype {dtype}), which could run code "
                "when read; store numbers, all rows of one length"
            )
        promised = prod(shape) * dtype.itemsize
        stored = info.file_size - file.tell()
        if min(shape, default=0) < 0 or promised != stored:
            raise DataError(
                f"{self.path}: {name} promises an array of shape {list(shape)} and dtype {dtype} "
                f"({promised} bytes) but holds {stored} bytes; the file is damaged"
            )
        return Header(tuple(shape), dtype), bool(fortran)

    @contextmanager
    def _open(self, name: str) -> Iterator[IO[bytes]]:
        info = self._members[name]
        if info.compress_type not in _COMPRESSIONS or info.flag_bits & 1:
            raise DataError(
                f"{self.path}: {name} is encrypted or compressed in a way that NumPy does not "
                "write; write it with numpy.savez or numpy.savez_compressed"
            )
        with self._explained(name), self._zip.open(info) as file:
            yield file

    @contextmanager
    def _explained(self, name: str | None) -> Iterator[None]:
        """Turn what a damaged file makes the readers raise into a DataError."""
        try:
            yield
        except (DataError, MemoryError):
            raise
        except Exception as error:
            # Damaged bytes make zipfile and NumPy raise almost anything: BadZipFile, zlib.error,
            # NotImplementedError, SyntaxError, …
            what = f"the array {name} " if name else ""
            raise DataError(
                f"{self.path}: {what}cannot be read ({error}); it must be an .npz file written by "
                "numpy.savez or numpy.savez_compressed, complete and undamaged"
            ) from error
