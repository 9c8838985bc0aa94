"""A folder that ``datasets.save_to_disk`` wrote: Arrow files, and JSON files that name them.

    data/state.json  dataset_info.json  data-00000-of-00002.arrow  …            a Dataset
    data/dataset_dict.json  train/state.json …  test/state.json …               a DatasetDict

The Arrow files are read as what they are, streams of record batches, so ``datasets`` need not be
installed. They are mapped into memory, not copied. Only files of the folder are opened, by their
plain names; the path that an image was once read from is never opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paribus.data.contained import require_contained
from paribus.data.tables.features import MAXIMUM_BYTES, features_of, parsed
from paribus.data.tables.table import Reader, explained
from paribus.errors import DataError
from paribus.filenames import is_file

if TYPE_CHECKING:
    import pyarrow as pa

_HINT = "write it again with datasets.save_to_disk"
MAXIMUM_FILES = 100_000
# How a stream of record batches ends (Arrow columnar format, "IPC Streaming Format").
_END = b"\xff\xff\xff\xff\0\0\0\0"


class Saved(Reader):
    """A Dataset's folder.

    Raises:
        DataError: it is none, is damaged, or names files that it may not.
    """

    images = True

    def __init__(self, folder: Path) -> None:
        self.origin = str(folder)
        state = member(folder, "state.json")
        info = member(folder, "dataset_info.json")
        listed = state.get("_data_files")
        if not isinstance(listed, list) or not listed or len(listed) > MAXIMUM_FILES:
            raise DataError(f"{folder / 'state.json'}: names no data files; {_HINT}")
        if state.get("_indices_data_files") or state.get("_indices_files"):
            raise DataError(
                f"{folder}: is a selection of its rows; flatten_indices(), then {_HINT}"
            )
        self._paths = [_file(folder, entry) for entry in listed]
        with explained(self.origin, _HINT), self._stream(self._paths[0], None) as stream:
            self._schema = stream.schema
            self.names = tuple(self._schema.names)
        features = info.get("features")
        self.features = (
            features
            if isinstance(features, dict)
            else features_of(self._schema.metadata, self.origin)
        )

    def type(self, name: str) -> pa.DataType | None:
        """Return a column's type."""
        return self._schema.field(name).type

    def batches(self, wanted: Mapping[str, str]) -> Iterator[Sequence[pa.Array]]:
        """Read record batches, file after file."""
        fields = [self._schema.field(name) for name in wanted]
        for path in self._paths:
            with explained(str(path), _HINT), self._stream(path, list(wanted)) as stream:
                for field in fields:
                    if stream.schema.field(field.name).type != field.type:
                        raise DataError(
                            f"{path}: column {field.name!r} holds "
                            f"{stream.schema.field(field.name).type}, and {field.type} in "
                            f"{self._paths[0].name}; {_HINT}"
                        )
                for batch in stream:
                    yield [batch.column(name) for name in wanted]

    def _stream(self, path: Path, wanted: Sequence[str] | None) -> pa.RecordBatchStreamReader:
        import pyarrow as pa

        source = pa.memory_map(str(path))
        stream = pa.ipc.open_stream(source)
        if wanted is None:
            return stream
        # Other columns are left alone: they may be compressed, or of any type.
        numbers = [stream.schema.get_field_index(name) for name in wanted]
        if min(numbers) < 0:
            raise DataError(f"{path}: lacks a column that {self._paths[0].name} has; {_HINT}")
        source.seek(0)
        options = pa.ipc.IpcReadOptions(included_fields=sorted(numbers), use_threads=False)
        return pa.ipc.open_stream(source, options=options)


def member(folder: Path, name: str) -> dict[str, Any]:
    """Return the JSON object in a file of the folder.

    Raises:
        DataError: there is no such file, it leads out of the folder, or is something else.
    """
    path = folder / name
    if not is_file(path):
        raise DataError(
            f"{folder}: has no {name}; expected a folder that datasets.save_to_disk wrote, of a "
            "Dataset or a DatasetDict"
        )
    require_contained(path, folder)
    if path.stat().st_size > MAXIMUM_BYTES:
        raise DataError(f"{path}: is too large; {_HINT}")
    return parsed(path.read_bytes(), str(path))


def _file(folder: Path, entry: Any) -> Path:
    name = entry.get("filename") if isinstance(entry, dict) else None
    if not isinstance(name, str) or name != Path(name).name or not name.endswith(".arrow"):
        raise DataError(
            f"{folder / 'state.json'}: names a data file {name!r}; allowed: names of .arrow files "
            f"in the folder. {_HINT.capitalize()}"
        )
    path = folder / name
    if not is_file(path):
        raise DataError(f"{path}: there is no such file, but state.json names it; {_HINT}")
    require_contained(path, folder)
    # A stream that was cut off between two batches would be read as a shorter one.
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(_END)))
        if file.read() != _END:
            raise DataError(f"{path}: is cut off; fetch it again, or {_HINT}")
    return path
