"""Tables of texts with labels: csv, jsonl, parquet, and what ``datasets.save_to_disk`` writes.

The text stands in one column, or two for pairs (``data.text.columns``), the label in another
(``data.label``): a class, or for regression a number in each of its columns. Language models read
the texts alone. Rows of validation files join the training rows, because the spec's split draws its
own; a test file is the given test set.

A saved data set of images with labels is one of images: a column of images stands where the text
would.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from paribus.architectures import LANGUAGE, Objective
from paribus.data.dataset import Array, Integers
from paribus.data.documents import Columns
from paribus.data.encoded import Encoded
from paribus.data.source import Source, require_objective
from paribus.data.sources.image_files import decoded
from paribus.data.tables import labels, parts
from paribus.data.tables.columns import GROUPS, LABEL, TEXT, column_of_texts, is_image
from paribus.data.tables.table import Reader, Table, read
from paribus.errors import DataError, SpecError

if TYPE_CHECKING:
    import pyarrow as pa

    from paribus.spec.data import Data


def find(section: Data, objective: Objective) -> Source:
    """Read the columns that the spec names; texts become tokens later."""
    path = parts.located(section.source, section.path)
    if section.source == "datasets":
        there = parts.saved(path)
    else:
        there = parts.find(path, f".{section.source}")
    readers = [parts.READERS[section.source](part) for part in there.all]
    image = _image(section, readers[0])
    columns = section.text.columns if image is None else [image]
    if image is not None:
        require_objective("datasets", objective, "classification", "regression")
    tables = [read(reader, _wanted(section, objective, columns)) for reader in readers]
    contents = [_joined([column_of_texts(table, name) for table in tables]) for name in columns]
    rows = sum(table.rows for table in tables)
    y, names = _labels(section, objective, tables, tested=there.test is not None)
    given = None
    if there.test is not None:
        given = np.arange(rows - tables[-1].rows, rows, dtype=np.int64)
    groups = None if section.groups is None else labels.groups(tables, section.groups)
    origin = str(path)
    if image is None:
        documents = Columns([content.combine_chunks() for content in contents])
        return Source(origin, y, names, 1.0, None, groups, given, documents)

    def pictures(rows: Integers) -> Array:
        return decoded([_encoded(contents[0], int(row), origin) for row in rows], section.image)

    return Source(origin, y, names, 255.0, pictures, groups, given)


def _wanted(section: Data, objective: Objective, columns: list[str]) -> dict[str, str]:
    """Return the columns to read, with the key of the spec that names each."""
    named = [(name, TEXT) for name in columns]
    if objective not in LANGUAGE:
        if objective == "classification" and len(section.label) != 1:
            raise SpecError(
                f"{LABEL} = {section.label}: classification has one label; name one column, or set "
                "objective = 'regression' for several numbers"
            )
        named += [(name, LABEL) for name in section.label]
    if section.groups is not None:
        named.append((section.groups, GROUPS))
    wanted: dict[str, str] = {}
    for name, key in named:
        # Groups may well be another column's values: all texts of one label, say.
        if name in wanted and key != GROUPS:
            raise SpecError(f"{key}: column {name!r} is named twice, {wanted[name]} has it too")
        wanted.setdefault(name, key)
    return wanted


def _labels(
    section: Data, objective: Objective, tables: list[Table], *, tested: bool
) -> tuple[Array, tuple[str, ...]]:
    if objective in LANGUAGE:
        return np.zeros(sum(table.rows for table in tables), dtype=np.int64), ()
    if objective == "regression":
        return labels.numbers(tables, section.label), tuple(section.label)
    return labels.classes(tables, section.label[0], tested=tested)


def _joined(columns: list[pa.ChunkedArray]) -> pa.ChunkedArray:
    import pyarrow as pa

    return pa.chunked_array([chunk for column in columns for chunk in column.chunks])


def _image(section: Data, reader: Reader) -> str | None:
    """Return the column of images that stands where the text would, if there is one."""
    if not reader.images:
        return None
    # A name that is there twice has no type; where such a column is wanted, that is said later.
    counts = Counter(reader.names)
    images = [name for name, n in counts.items() if n == 1 and is_image(reader.type(name))]
    if len(section.text.columns) == 1 and section.text.columns[0] in images:
        return section.text.columns[0]
    if any(name in reader.names for name in section.text.columns) or not images:
        return None
    if len(images) > 1:
        raise DataError(
            f"{reader.origin}: has several columns of images, {', '.join(map(repr, images))}; "
            f"name the one that is meant with {TEXT}"
        )
    return images[0]


def _encoded(column: pa.ChunkedArray, row: int, origin: str) -> Encoded:
    content = column[row]["bytes"]
    if not content.is_valid:
        raise DataError(
            f"{origin}: the image of row {row} is a path and not in the data; write the data set "
            "again with its images in it"
        )
    return Encoded(f"{origin}: image of row {row}", content.as_buffer())
