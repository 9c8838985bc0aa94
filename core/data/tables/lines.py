"""JSON lines: one object a line, in UTF-8.

Read with Python's own parser, line by line: a reader that guesses types from a block of lines would
answer by where the blocks end. A line has a bound, so a file without line breaks takes no memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paribus.data.tables.columns import require_simple
from paribus.data.tables.encoding import not_utf8
from paribus.data.tables.table import Reader
from paribus.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

MAXIMUM_LINE = 1 << 24
_BATCH_ROWS = 4096
_BATCH_BYTES = 1 << 24
_CALLED: Mapping[type, str] = {
    str: "a text", bool: "a truth value", int: "a number", float: "a number", list: "a list",
    dict: "an object", type(None): "null",
}  # fmt: skip


class JSONLines(Reader):
    """A file of JSON objects; its columns are the keys of the first.

    Raises:
        DataError: it is empty, or its first line is no object.
    """

    def __init__(self, path: Path) -> None:
        self.origin = str(path)
        self._path = path
        first = next(self._objects(), None)
        if first is None:
            raise DataError(f"{path}: is empty; expected one JSON object a line")
        self.names = tuple(first[1])

    def type(self, name: str) -> pa.DataType | None:
        """Return None: values say themselves what they are."""
        return None

    def batches(self, wanted: Mapping[str, str]) -> Iterator[Sequence[pa.Array]]:
        """Read lines; a key that a line does not have is a missing value."""
        lines: list[int] = []
        rows: list[list[Any]] = []
        size = 0
        for line, stored, length in self._objects():
            lines.append(line)
            rows.append([stored.get(name) for name in wanted])
            size += length
            if size >= _BATCH_BYTES or len(rows) >= _BATCH_ROWS:
                yield self._arrays(lines, rows, wanted)
                lines, rows, size = [], [], 0
        if rows:
            yield self._arrays(lines, rows, wanted)

    def _arrays(
        self, lines: list[int], rows: list[list[Any]], wanted: Mapping[str, str]
    ) -> list[pa.Array]:
        columns = zip(*rows, strict=True)
        return [
            self._array(name, key, lines, list(values))
            for (name, key), values in zip(wanted.items(), columns, strict=True)
        ]

    def _array(self, name: str, key: str, lines: list[int], values: list[Any]) -> pa.Array:
        import pyarrow as pa

        kinds = {type(value) for value in values} - {type(None)}
        for nested, kind in ((list, pa.list_(pa.null())), (dict, pa.struct([]))):
            if nested in kinds:
                require_simple(self, name, key, kind)
        types = {
            frozenset(): pa.null(), frozenset({str}): pa.large_string(),
            frozenset({bool}): pa.bool_(), frozenset({int}): pa.int64(),
            frozenset({float}): pa.float64(), frozenset({int, float}): pa.float64(),
        }  # fmt: skip
        where = f"{self.origin}: column {name!r}"
        if frozenset(kinds) not in types:
            found = {_CALLED[type(v)]: line for line, v in zip(lines, values, strict=True)}
            said = ", ".join(f"{what} (line {line})" for what, line in found.items())
            raise DataError(f"{where} mixes {said}; make it one of them")
        try:
            return pa.array(values, types[frozenset(kinds)])
        except (OverflowError, UnicodeEncodeError) as error:
            line = next(
                line for line, value in zip(lines, values, strict=True) if not _stored(value)
            )
            raise DataError(
                f"{where}: line {line} has a value that cannot be kept ({error})"
            ) from (error)

    def _objects(self) -> Iterator[tuple[int, dict[str, Any], int]]:
        """Return each object with the number of its line, from 1, and the line's bytes."""
        with self._path.open("rb") as file:
            for line in count(1):
                text = file.readline(MAXIMUM_LINE + 1)
                if not text:
                    return
                if len(text) > MAXIMUM_LINE:
                    raise DataError(
                        f"{self.origin}: line {line} has more than {MAXIMUM_LINE} bytes; expected "
                        "one JSON object a line"
                    )
                if text.isspace():
                    continue
                try:
                    stored = json.loads(text.decode("utf-8-sig" if line == 1 else "utf-8"))
                except UnicodeDecodeError as error:
                    raise not_utf8(self._path, line) from error
                except (ValueError, RecursionError) as error:
                    raise DataError(
                        f"{self.origin}: line {line} is not JSON ({error}); expected one JSON "
                        "object a line"
                    ) from error
                if not isinstance(stored, dict):
                    raise DataError(
                        f"{self.origin}: line {line} is {_CALLED[type(stored)]}; expected a JSON "
                        'object, like {"text": "…", "label": "…"}'
                    )
                yield line, stored, len(text)


def _stored(value: Any) -> bool:
    import pyarrow as pa

    try:
        pa.scalar(value)
    except (OverflowError, UnicodeEncodeError):
        return False
    return True
