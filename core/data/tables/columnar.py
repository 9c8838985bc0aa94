"""Parquet files, column by column.

Texts are read with their dictionary, so that what a file stores once and repeats is counted before
it is written out (``table``). What the footer promises is checked before anything is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paribus.data.tables import table
from paribus.data.tables.features import features_of
from paribus.data.tables.table import Reader, explained
from paribus.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_BATCH_ROWS = 1 << 16
_BATCH_BYTES = 1 << 26
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
            rows = file.metadata.num_rows
            self._batch = max(1, min(_BATCH_ROWS, _BATCH_BYTES // _bytes_per_row(file.metadata)))
            self.features = features_of(self._schema.metadata, self.origin)
        if not 0 <= rows <= table.MAXIMUM_ROWS:
            raise DataError(
                f"{path}: promises {rows} rows; allowed: up to {table.MAXIMUM_ROWS}. Split it"
            )

    def type(self, name: str) -> pa.DataType | None:
        """Return a column's type."""
        return self._schema.field(name).type

    def batches(self, wanted: Mapping[str, str]) -> Iterator[Sequence[pa.Array]]:
        """Read batches of rows."""
        with explained(self.origin, _HINT), self._open(tuple(wanted)) as file:
            # One row group at a time: a dictionary grows until its reader is done.
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(
                    self._batch, row_groups=[group], columns=list(wanted), use_threads=False
                ):
                    yield [batch.column(name) for name in wanted]

    def _open(self, wanted: Sequence[str]) -> pq.ParquetFile:
        import pyarrow.parquet as pq
        import pyarrow.types as t

        kinds = {name: self._schema.field(name).type for name in wanted}
        texts = [n for n, kind in kinds.items() if t.is_string(kind) or t.is_large_string(kind)]
        return pq.ParquetFile(self._path, read_dictionary=texts, memory_map=False, pre_buffer=False)


def _bytes_per_row(metadata: pq.FileMetaData) -> int:
    """Return the uncompressed bytes of a row, all columns, as the footer tells them."""
    groups = range(metadata.num_row_groups)
    size: int = sum(metadata.row_group(group).total_byte_size for group in groups)
    return max(1, size // max(1, int(metadata.num_rows)))
