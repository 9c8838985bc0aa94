"""Columns of a table file in memory: read batch by batch, and checked before anything uses them.

The files are anybody's. A column is looked at by its type before a value is read, so that lists and
nested values are refused by name; texts are checked to be UTF-8, which not every format's reader
does; and a value that a file stores once and repeats a billion times is counted before it is
written out.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from paribus.data.checks import rows_text
from paribus.data.tables.columns import is_image, is_text, require_column, require_simple
from paribus.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

# Of the columns that are read, as they are in memory; see `allowed_bytes`.
MAXIMUM_BYTES = 1 << 34
MAXIMUM_ROWS = 1 << 28


class Reader(ABC):
    """A table file that has been opened; its rows have not been read.

    Attributes:
        origin: for error messages: the file or folder.
        names: the columns that are there.
        features: what Hugging Face's ``datasets`` says about columns, by name; empty elsewhere.
        typed: whether the format knows numbers from texts.
        images: whether a column may hold images.
    """

    origin: str
    names: tuple[str, ...]
    features: Mapping[str, Any] = {}
    typed: bool = True
    images: bool = False

    @abstractmethod
    def type(self, name: str) -> pa.DataType | None:
        """Return a column's type; None where the format has no types."""

    @abstractmethod
    def batches(self, wanted: Mapping[str, str]) -> Iterator[Sequence[pa.Array]]:
        """Read the rows, in order: an array for each of the wanted columns."""


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of one file.

    Attributes:
        origin, features, typed: as in ``Reader``.
        rows: how many.
        columns: ``pyarrow.ChunkedArray`` by name; texts are large_string.
    """

    origin: str
    features: Mapping[str, Any]
    typed: bool
    rows: int
    columns: Mapping[str, pa.ChunkedArray]


def read(reader: Reader, wanted: Mapping[str, str]) -> Table:
    """Read columns.

    Args:
        reader: the file.
        wanted: the columns' names, and the key of the spec that names each.

    Raises:
        DataError: a column is missing, nested, or mixes texts and numbers; the file is damaged or
            too large.
    """
    import pyarrow as pa

    for name, key in wanted.items():
        require_column(reader, name, key)
        kind = reader.type(name)
        if kind is not None:
            require_simple(reader, name, key, kind)
    chunks: dict[str, list[pa.Array]] = {name: [] for name in wanted}
    rows = size = 0
    with explained(reader.origin):
        for batch in reader.batches(wanted):
            for name, array in zip(wanted, batch, strict=True):
                plain = _plain(array, f"{reader.origin}: column {name!r}", rows)
                # Images stay in their file.
                size += 0 if is_image(plain.type) else plain.nbytes
                chunks[name].append(plain)
            rows += len(batch[0])
            if rows > MAXIMUM_ROWS or size > allowed_bytes():
                raise _too_large(reader.origin, f"{rows} rows or more")
    columns = {
        name: pa.chunked_array(_alike(arrays, f"{reader.origin}: column {name!r}"))
        if arrays
        else pa.chunked_array([pa.array([], type=reader.type(name) or pa.large_string())])
        for name, arrays in chunks.items()
    }
    return Table(reader.origin, reader.features, reader.typed, rows, columns)


def allowed_bytes() -> int:
    """Return how large columns may be: a quarter of the memory, for they are there in two forms."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return MAXIMUM_BYTES
    return min(MAXIMUM_BYTES, memory // 4)


@contextmanager
def explained(origin: str, hint: str = "mend it or fetch it again") -> Iterator[None]:
    """Turn what pyarrow raises for damaged or too large files into a DataError."""
    try:
        yield
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{origin}: needs more memory than there is ({error})") from error
    except Exception as error:
        # Damaged bytes make readers raise almost anything: ArrowInvalid, OSError, KeyError, …
        raise DataError(f"{origin}: cannot be read ({_short(error)}); {hint}") from error


def _plain(array: pa.Array, where: str, start: int) -> pa.Array:
    """Return a checked array, texts as large_string with their repetitions written out."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as t

    if t.is_dictionary(array.type):
        if not is_text(array.type.value_type):
            array.validate(full=True)
            array = array.dictionary_decode()
        else:
            _require_utf8(array.dictionary, where, None)
            array.validate(full=True)
            lengths = pc.take(pc.binary_length(array.dictionary), array.indices)
            size = pc.sum(pc.cast(lengths, pa.int64())).as_py() or 0
            if size > allowed_bytes():
                raise _too_large(where, f"texts of {size} bytes")
            values = array.dictionary.cast(pa.large_string())
            return pa.DictionaryArray.from_arrays(array.indices, values).dictionary_decode()
    if is_text(array.type):
        _require_utf8(array, where, start)
        return array.cast(pa.large_string())
    array.validate(full=True)
    return array


def _require_utf8(array: pa.Array, where: str, start: int | None) -> None:
    import pyarrow as pa

    try:
        array.validate(full=True)
        return
    except pa.ArrowInvalid:
        views = {pa.string(): pa.binary, pa.large_string(): pa.large_binary}
        kind = views[array.type]() if array.type in views else pa.binary_view()
        raw = array.view(kind)
    # Sound but for its letters, or damaged: then this raises, and the caller explains.
    raw.validate(full=True)
    for row, value in enumerate(raw.to_pylist()):
        try:
            str(value or b"", "utf-8")
        except UnicodeDecodeError as error:
            at = "" if start is None else f" in {rows_text(np.array([start + row]))}"
            raise DataError(f"{where}: a text{at} is not UTF-8 ({error}); convert it") from error


def _alike(arrays: list[pa.Array], where: str) -> list[pa.Array]:
    """Return chunks of one type: whole and other numbers together are float64."""
    import pyarrow as pa
    import pyarrow.types as t

    kinds = {array.type for array in arrays if not t.is_null(array.type)}
    if len(kinds) <= 1:
        kind = next(iter(kinds), pa.null())
    elif all(t.is_integer(kind) or t.is_floating(kind) for kind in kinds):
        kind = pa.float64()
    else:
        raise DataError(f"{where} mixes {', '.join(sorted(map(str, kinds)))}; make it one of them")
    return [array.cast(kind) for array in arrays]


def _too_large(origin: str, what: str) -> DataError:
    return DataError(
        f"{origin}: holds {what}, too much to read at once; allowed: {MAXIMUM_ROWS} rows and "
        f"{allowed_bytes()} bytes. Split it, or take a part of it"
    )


def _short(error: Exception) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 300 else f"{text[:300]} …"
