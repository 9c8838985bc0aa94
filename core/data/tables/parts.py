"""Where a table's parts are: one file, or a folder with a file for each part.

    reviews.csv      or      reviews/train.csv  [validation.csv or val.csv]  [test.csv]

A saved data set is a folder itself, and its parts are folders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from paribus.data.contained import listed, require_contained
from paribus.data.tables.columnar import Parquet
from paribus.data.tables.delimited import CSV
from paribus.data.tables.lines import JSONLines
from paribus.data.tables.saved import Saved, member
from paribus.data.tables.table import Reader
from paribus.errors import DataError, SpecError
from paribus.filenames import is_file, is_folder

TRAIN, VALIDATION, TEST = "train", ("validation", "val"), "test"

READERS: Mapping[str, Callable[[Path], Reader]] = {
    "csv": CSV, "jsonl": JSONLines, "parquet": Parquet, "datasets": Saved,
}  # fmt: skip


class Parts(NamedTuple):
    """Files or folders: those whose rows train, in order, and the given test set's."""

    train: list[Path]
    test: Path | None

    @property
    def all(self) -> list[Path]:
        """The paths in the order of the source's rows."""
        return [*self.train, *([] if self.test is None else [self.test])]


def located(source: str, path: str | None) -> Path:
    """Return ``data.path``.

    Raises:
        SpecError: it is not set.
        DataError: nothing is there.
    """
    if path is None:
        raise SpecError(f"data.source = {source!r} needs data.path")
    found = Path(path).expanduser()
    if not is_file(found) and not is_folder(found):
        raise DataError(f"data.path = {path!r}: there is no such file or folder")
    return found


def find(path: Path, suffix: str) -> Parts:
    """Return the parts at a path: itself if it is a file, else the folder's ``part.suffix`` files.

    Raises:
        DataError: a folder without training part, or with files whose part is not clear.
    """
    if is_file(path):
        return Parts([path], None)
    there = {p.stem: p for p in listed(path) if p.suffix == suffix and is_file(p)}
    return _parts(there, path, suffix)


def saved(folder: Path) -> Parts:
    """Return the parts of a saved data set.

    Raises:
        DataError: it is none, or has parts that are not clear.
    """
    if not is_folder(folder):
        raise DataError(f"{folder} is a file; expected a folder that datasets.save_to_disk wrote")
    if not is_file(folder / "dataset_dict.json"):
        return Parts([folder], None)
    splits = member(folder, "dataset_dict.json").get("splits")
    if not isinstance(splits, list) or not all(
        isinstance(name, str) and name == Path(name).name for name in splits
    ):
        raise DataError(f"{folder / 'dataset_dict.json'}: names no splits")
    there = {name: folder / name for name in splits}
    for split in there.values():
        if not is_folder(split):
            raise DataError(f"{split}: there is no such folder, but dataset_dict.json names it")
        require_contained(split, folder)
    return _parts(there, folder, "")


def _parts(there: Mapping[str, Path], folder: Path, suffix: str) -> Parts:
    known = (TRAIN, *VALIDATION, TEST)
    expected = f"train{suffix}, and perhaps validation{suffix} (or val{suffix}) and test{suffix}"
    unknown = [name for name in there if name not in known]
    if unknown:
        raise DataError(
            f"{there[unknown[0]]}: it is unclear what it is for; expected {expected}. Rename or "
            "move it"
        )
    if TRAIN not in there:
        raise DataError(f"{folder}: has no train{suffix}; expected {expected}")
    both = [name for name in VALIDATION if name in there]
    if len(both) > 1:
        raise DataError(f"{folder}: has {' and '.join(name + suffix for name in both)}; keep one")
    return Parts([there[name] for name in (TRAIN, *both)], there.get(TEST))
