"""From a table's columns to labels: classes, numbers and groups.

Classes are the values of the training rows, sorted and called by their text: whole numbers by size,
everything else by its characters, whichever format they come from. A column that ``datasets`` knows
as a ClassLabel has the names and the order that it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from paribus.data.checks import rows_text
from paribus.data.dataset import Integers
from paribus.data.tables.columns import GROUPS, LABEL
from paribus.data.tables.features import class_names
from paribus.data.tables.table import Table
from paribus.errors import DataError

MAXIMUM_CLASSES = 1 << 16


class Coded(NamedTuple):
    """A column as numbers int64 [N] of its different values."""

    codes: Integers
    values: list[Any]


def classes(
    tables: Sequence[Table], name: str, *, tested: bool
) -> tuple[Integers, tuple[str, ...]]:
    """Return labels int64 [N] of all tables, in order, and the classes' names.

    Args:
        tables: the parts.
        name: of the column.
        tested: whether the last part is the test set, which does not say which classes there are.

    Raises:
        DataError: a row without label, values that are no classes, too many of them, or one that
            only the test part has.
    """
    parts = [_coded(table, name, LABEL) for table in tables]
    names = class_names(tables[0].features, name, tables[0].origin)
    if names is not None:
        ys = [
            _checked(part, names, f"{table.origin}: column {name!r}")
            for table, part in zip(tables, parts, strict=True)
        ]
    else:
        texts = [[_text(value) for value in part.values] for part in parts]
        names = _sorted({text for part in texts for text in part}, name, tables[0].origin)
        numbers = {text: number for number, text in enumerate(names)}
        ys = [
            np.array([numbers[text] for text in known], dtype=np.int64)[part.codes]
            for known, part in zip(texts, parts, strict=True)
        ]
    if tested:
        _require_trained(tables, ys, names)
    return np.concatenate(ys), names


def numbers(tables: Sequence[Table], names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return float64 [N, columns] of all tables, in order.

    Raises:
        DataError: a row without value, or something that is no finite number.
    """
    return np.concatenate(
        [np.stack([_floats(table, name) for name in names], axis=1) for table in tables]
    )


def groups(tables: Sequence[Table], name: str) -> Integers:
    """Return int64 [N] of all tables, in order: equal numbers for equal values.

    Raises:
        DataError: a row without value, or values that are neither texts nor whole numbers.
    """
    parts = [_coded(table, name, GROUPS) for table in tables]
    there = sorted({_text(value) for part in parts for value in part.values})
    numbers = {text: number for number, text in enumerate(there)}
    return np.concatenate(
        [
            np.array([numbers[_text(value)] for value in part.values], dtype=np.int64)[part.codes]
            for part in parts
        ]
    )


def _coded(table: Table, name: str, key: str) -> Coded:
    import pyarrow.compute as pc
    import pyarrow.types as t

    column = table.columns[name]
    where = f"{table.origin}: column {name!r}"
    texts = t.is_large_string(column.type)
    _require_values(pc.is_null(column), where)
    if texts:
        _require_values(pc.equal(column, ""), where)
    if not (texts or t.is_integer(column.type) or (key == LABEL and t.is_boolean(column.type))):
        allowed = "texts, whole numbers or truth values" if key == LABEL else "texts, whole numbers"
        also = ", or objective = 'regression' for numbers" if key == LABEL else ""
        raise DataError(f"{where} ({key}) holds {column.type}; allowed: {allowed}{also}")
    coded = column.combine_chunks().dictionary_encode()
    codes = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return Coded(codes, coded.dictionary.to_pylist())


def _require_values(absent: Any, where: str) -> None:
    rows = np.flatnonzero(absent.to_numpy())
    if len(rows):
        raise DataError(f"{where} has no value in {rows_text(rows)}; fill it in, or remove the row")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _sorted(texts: set[str], name: str, origin: str) -> tuple[str, ...]:
    if len(texts) > MAXIMUM_CLASSES:
        raise DataError(
            f"{LABEL} = {name!r}: {origin} has {len(texts)} different values in that column; "
            f"allowed: up to {MAXIMUM_CLASSES} classes. Is it the right column?"
        )
    whole = all(_is_whole(text) for text in texts)
    return tuple(sorted(texts, key=int) if whole else sorted(texts))


def _is_whole(text: str) -> bool:
    """Whether a text is how a whole number is written: 7 and −3, not 007."""
    # Only digits of ASCII, and few enough for int().
    return text.removeprefix("-").isdecimal() and len(text) < 20 and str(int(text)) == text


def _checked(part: Coded, names: Sequence[str], where: str) -> Integers:
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in part.values):
        raise DataError(f"{where} should hold numbers of classes, since it is a ClassLabel")
    values = np.array(part.values, dtype=np.int64)[part.codes]
    outside = np.flatnonzero((values < 0) | (values >= len(names)))
    if len(outside):
        value = values[outside[0]]
        raise DataError(
            f"{where} has {'no label (−1)' if value == -1 else f'label {value}'} in "
            f"{rows_text(outside)}; allowed: 0 to {len(names) - 1}. Remove those rows"
        )
    return values


def _require_trained(tables: Sequence[Table], ys: list[Integers], names: Sequence[str]) -> None:
    new = np.setdiff1d(ys[-1], np.concatenate(ys[:-1]))
    if len(new):
        raise DataError(
            f"{tables[-1].origin}: class {names[new[0]]!r} of "
            f"{rows_text(np.flatnonzero(ys[-1] == new[0]))} is in no training row "
            f"({tables[0].origin}), so nothing can be learned about it; add training rows, or "
            "remove those"
        )


def _floats(table: Table, name: str) -> npt.NDArray[np.float64]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as t

    column = table.columns[name]
    where = f"{table.origin}: column {name!r} ({LABEL})"
    _require_values(pc.is_null(column), where)
    if t.is_large_string(column.type) and not table.typed:
        column = pc.utf8_trim_whitespace(column)
        _require_values(pc.equal(column, ""), where)
        _require_numbers(column, where)
    elif not (t.is_integer(column.type) or t.is_floating(column.type) or t.is_decimal(column.type)):
        raise DataError(f"{where} holds {column.type}; allowed for regression: numbers")
    values = np.asarray(pc.cast(column, pa.float64()).to_numpy(), dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise DataError(f"{where} has NaN or infinity in {rows_text(bad)}; remove those rows")
    return values


def _require_numbers(column: Any, where: str) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.cast(column, pa.float64())
    except pa.ArrowInvalid as error:
        for row, text in enumerate(column.to_pylist()):
            try:
                pc.cast(pa.scalar(text), pa.float64())
            except pa.ArrowInvalid:
                raise DataError(
                    f"{where} has {text!r} in row {row}; allowed for regression: numbers"
                ) from error
