"""Which columns of a table can be read, and as what: decided by names and types, not by values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from paribus.data.checks import rows_text
from paribus.errors import DataError, nearest

if TYPE_CHECKING:
    import pyarrow as pa

    from paribus.data.tables.table import Reader, Table

_COLUMNS_SHOWN = 20

# Spec keys that name columns, for messages and for what a column may hold.
TEXT, LABEL, GROUPS = "data.text.columns", "data.label", "data.groups"


def require_column(reader: Reader, name: str, key: str) -> None:
    """Require that a column is there, once.

    Raises:
        DataError: it is not.
    """
    count = reader.names.count(name)
    if count == 1:
        return
    if count:
        raise DataError(f"{reader.origin}: has {count} columns called {name!r}; rename them")
    shown = ", ".join(repr(there) for there in reader.names[:_COLUMNS_SHOWN])
    more = len(reader.names) - _COLUMNS_SHOWN
    raise DataError(
        f"{key} = {name!r}: {reader.origin} has no such column; it has "
        f"{shown or 'none'}{f' and {more} more' if more > 0 else ''}.{nearest(name, reader.names)}"
    )


def require_simple(reader: Reader, name: str, key: str, kind: pa.DataType) -> None:
    """Require that a column holds texts, numbers or truth values (or images, for texts).

    Raises:
        DataError: it does not; a list of labels is explained.
    """
    import pyarrow.types as t

    stored = kind.value_type if t.is_dictionary(kind) else kind
    simple = (is_text, t.is_integer, t.is_floating, t.is_decimal, t.is_boolean, t.is_null)
    if any(check(stored) for check in simple) or (key == TEXT and reader.images and is_image(kind)):
        return
    where = f"{reader.origin}: column {name!r} holds"
    if key == LABEL and (t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind)):
        raise DataError(
            f"{where} lists, several labels of an example; one label per example is allowed. Keep "
            "one, or make a column of 0 and 1 for each label and train on one of them"
        )
    if is_image(kind):
        raise DataError(
            f"{where} images, which are read from a folder of datasets.save_to_disk (data.source = "
            "'datasets') or of image files ('image_folder')"
        )
    raise DataError(f"{where} {kind}; allowed: texts, numbers or truth values. Convert it first")


def is_text(kind: pa.DataType) -> bool:
    """Whether a type holds texts."""
    import pyarrow.types as t

    # pyarrow 15 has no name for the last.
    return bool(t.is_string(kind) or t.is_large_string(kind) or str(kind) == "string_view")


def is_image(kind: pa.DataType) -> bool:
    """Whether a type is that of ``datasets``' images: a struct of bytes and path."""
    import pyarrow.types as t

    if not t.is_struct(kind):
        return False
    try:
        fields = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
    except UnicodeDecodeError:
        return False
    return set(fields) == {"bytes", "path"} and t.is_binary(fields["bytes"])


def column_of_texts(table: Table, name: str) -> pa.ChunkedArray:
    """Return a column in which every row has a text (or an image, where there may be any).

    Raises:
        DataError: a row has none, or the column holds something else.
    """
    import pyarrow.compute as pc
    import pyarrow.types as t

    column = table.columns[name]
    where = f"{table.origin}: column {name!r} ({TEXT})"
    absent = np.flatnonzero(pc.is_null(column).to_numpy())
    if len(absent):
        raise DataError(
            f"{where} has no text in {rows_text(absent)}; fill it in, or remove the row"
        )
    if not (t.is_large_string(column.type) or is_image(column.type)):
        raise DataError(f"{where} holds {column.type}; allowed: texts")
    return column
