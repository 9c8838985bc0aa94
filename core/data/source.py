"""What a source knows before its examples are read: labels, names, and how to read rows.

Labels are cheap and pixels are not: rows are chosen (classes, limit) on labels alone, and only
the chosen ones are read and decoded, at once or when they are needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from paribus.data.dataset import Integers, Tokens
from paribus.data.streamed import Examples, Streamed


@dataclass(frozen=True, eq=False)
class Source:
    """Examples that can be read.

    Attributes:
        origin: for error messages: the file or folder.
        y: as in ``Dataset`` (a class may have no example yet).
        class_names: C names; for regression the outputs' names, for language models none.
        value_range: what 1.0 is in stored units.
        read: rows (int64, sorted) → x, as in ``Dataset``; where it is ``Streamed``, nothing has
            been read yet but what its shape depends on.
        groups: int64 [N], or None.
        given_test: int64 rows of the source's own test set, or None.
        tokens: for texts, else None.
        skipped: files that could not be read and were left out.
        numbers: int64 [N], the examples' places in the source with those files among them; None
            for 0 … N − 1. They stay the same whether unreadable files are left out or not.
    """

    origin: str
    y: Integers
    class_names: tuple[str, ...]
    value_range: float
    read: Callable[[Integers], Examples]
    groups: Integers | None = None
    given_test: Integers | None = None
    tokens: Tokens | None = None
    skipped: tuple[str, ...] = ()
    numbers: Integers | None = None


def reader(x: Examples) -> Callable[[Integers], Examples]:
    """Return a ``read`` for examples that are at hand; all rows are read without a copy."""
    if isinstance(x, Streamed):
        return x.chosen
    array = x
    return lambda rows: array if len(rows) == len(array) else array[rows]
