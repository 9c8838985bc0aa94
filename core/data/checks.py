"""What makes examples usable; found out at load, where the user can still see which row it was."""

from __future__ import annotations

import numpy as np

from paribus.data.dataset import Array, Integers
from paribus.data.source import Source
from paribus.data.streamed import Examples, pieces
from paribus.errors import DataError

_ROWS_SHOWN = 5


def check_labels(source: Source, *, class_based: bool = True) -> None:
    """Raise DataError unless there are examples and, where labels are classes, each names one."""
    if len(source.y) == 0:
        raise DataError(f"{source.origin}: there are no examples")
    if not class_based:
        return
    outside = np.flatnonzero((source.y < 0) | (source.y >= len(source.class_names)))
    if len(outside):
        raise DataError(
            f"{source.origin}: label {source.y[outside[0]]} in {rows_text(outside)} is out of "
            f"range; allowed: 0 to {len(source.class_names) - 1}"
        )


def check_examples(x: Examples, rows: Integers, origin: str) -> None:
    """Raise DataError when an example holds NaN or infinity; ``rows`` are its source's numbers."""
    if 0 in x.shape:
        raise DataError(
            f"{origin}: the examples are empty, their array has shape {x.shape}; each needs at "
            "least one feature or pixel"
        )
    if x.dtype.kind != "f":
        return
    finite = [_finite(some) for some in pieces(x, np.arange(len(x), dtype=np.int64))]
    bad = np.flatnonzero(~np.concatenate(finite))
    if len(bad):
        where = rows[bad]
        raise DataError(
            f"{origin}: NaN or infinity in {rows_text(where)} of {len(x)}; remove those rows or "
            "fill in their values"
        )


def rows_text(rows: Integers) -> str:
    """Return ``row 3``, or ``rows 3, 4, 5, 6, 7 and 12 more``."""
    shown = ", ".join(str(row) for row in rows[:_ROWS_SHOWN])
    more = f" and {len(rows) - _ROWS_SHOWN} more" if len(rows) > _ROWS_SHOWN else ""
    return f"row{'s' if len(rows) > 1 else ''} {shown}{more}"


def _finite(x: Array) -> Array:
    return np.asarray(np.isfinite(x).reshape(len(x), -1).all(axis=1))
