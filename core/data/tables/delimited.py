"""CSV files (RFC 4180) in UTF-8 with a header line.

Every column is read as text: what a column means is decided when all of it is known, not by its
first rows. A row must fit into a block, which bounds the memory that a quotation mark without its
partner, or a line without end, can take.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from paribus.data.tables.encoding import require_utf8
from paribus.data.tables.table import Reader, explained
from paribus.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.csv as csv

BLOCK_BYTES = 1 << 24
# A line of commas would be a column each.
MAXIMUM_HEADER = 1 << 20
_HINT = (
    "it must be a CSV file (RFC 4180) in UTF-8 with a header line, commas between columns, and "
    "quotation marks around values that hold commas, quotation marks or line breaks"
)


class CSV(Reader):
    """A CSV file.

    Raises:
        DataError: it cannot be read, or is empty.
    """

    typed = False

    def __init__(self, path: Path) -> None:
        self.origin = str(path)
        self._path = path
        with self._explained():
            if path.stat().st_size == 0:
                raise DataError(f"{path}: is empty; {_HINT}")
            with path.open("rb") as file:
                if len(file.readline(MAXIMUM_HEADER + 1)) > MAXIMUM_HEADER:
                    raise DataError(
                        f"{path}: its first line has more than {MAXIMUM_HEADER} bytes; {_HINT}"
                    )
            with self._open({}) as reader:
                self.names = tuple(reader.schema.names)

    def type(self, name: str) -> pa.DataType | None:
        """Return None: all columns are text."""
        return None

    def batches(self, wanted: Mapping[str, str]) -> Iterator[Sequence[pa.Array]]:
        """Read blocks of rows."""
        with self._explained(), self._open(wanted) as reader:
            for batch in reader:
                yield batch.columns

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            with explained(self.origin, _HINT):
                yield
        except DataError as error:
            # The reader knows that bytes are no UTF-8, and not where.
            if "UTF8" in str(error):
                require_utf8(self._path)
            if "straddling" in str(error):
                raise DataError(
                    f"{self.origin}: a row has more than {BLOCK_BYTES} bytes; is a quotation mark "
                    "without its partner?"
                ) from error
            raise

    def _open(self, wanted: Mapping[str, str]) -> csv.CSVStreamingReader:
        import pyarrow as pa
        import pyarrow.csv as csv

        return csv.open_csv(
            # Opened here, so that a name's ending does not say that it is to be decompressed.
            pa.OSFile(str(self._path)),
            csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
            csv.ParseOptions(newlines_in_values=True),
            csv.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.large_string()),
                include_columns=list(wanted),
                strings_can_be_null=False,
            ),
        )
