"""Parquet files, column by column.

Texts are read with their dictionary, so that what a file stores once and repeats is counted before
it is written out (``table``). What the footer promises is checked before anything is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paribus.data.tables import table
from paribus.data.tables.features import features_of
from paribus.data.tables.table import Reader, explained
from paribus.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_BATCH_ROWS = 1 << 16
_HINT = "it must be a whole Parquet file"


class Parquet(Reader):
    """A Parquet file.

    Raises:
        DataError: it is none, is damaged, or promises more than can be read.
    """

    def __init__(self, path: Path) -> None:
        self.origin = str(path)
        self._path = path
        with explained(self.origin, _HINT), self._open(()) as file:
            self._schema = file.schema_arrow
            self.names = tuple(self._schema.names)
            rows, size = file.metadata.num_rows, _promised(file.metadata)
            self.features = features_of(self._schema.metadata, self.origin)
        if not 0 <= rows <= table.MAXIMUM_ROWS:
            raise DataError(
                f"{path}: promises {rows} rows; allowed: up to {table.MAXIMUM_ROWS}. Split it"
            )
        self._size: Mapping[str, int] = size

    def type(self, name: str) -> pa.DataType | None:
        """Return a column's type."""
        return self._schema.field(name).type

    def batches(self, wanted: Mapping[str, str]) -> Iterator[Sequence[pa.Array]]:
        """Read batches of rows."""
        size = sum(self._size.get(name, 0) for name in wanted)
        if size > table.MAXIMUM_BYTES:
            raise DataError(
                f"{self.origin}: its columns {', '.join(map(repr, wanted))} have {size} bytes; "
                f"allowed: up to {table.MAXIMUM_BYTES}. Split it"
            )
        with explained(self.origin, _HINT), self._open(tuple(wanted)) as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=list(wanted), use_threads=False):
                yield [batch.column(name) for name in wanted]

    def _open(self, wanted: Sequence[str]) -> pq.ParquetFile:
        import pyarrow.parquet as pq
        import pyarrow.types as t

        kinds = {name: self._schema.field(name).type for name in wanted}
        texts = [n for n, kind in kinds.items() if t.is_string(kind) or t.is_large_string(kind)]
        return pq.ParquetFile(self._path, read_dictionary=texts, memory_map=False, pre_buffer=False)


def _promised(metadata: pq.FileMetaData) -> dict[str, int]:
    """Return the uncompressed bytes of each column, as the footer tells them."""
    size: dict[str, Any] = {}
    for group in range(metadata.num_row_groups):
        stored = metadata.row_group(group)
        for number in range(stored.num_columns):
            column = stored.column(number)
            size[column.path_in_schema] = (
                size.get(column.path_in_schema, 0) + column.total_uncompressed_size
            )
    return size
