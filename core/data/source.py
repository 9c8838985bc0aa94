"""What a source knows before its examples are read: labels, names, and how to read rows.

Labels are cheap and pixels are not: rows are chosen (classes, limit) on labels alone, and only
the chosen ones are read and decoded, at once or when they are needed. Texts are not examples before
there is a tokenizer, which may be made of them; so a source of texts has documents instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from paribus.architectures import Objective
from paribus.data.dataset import Array, Integers
from paribus.data.documents import Documents
from paribus.data.streamed import Examples, Streamed
from paribus.errors import SpecError


@dataclass(frozen=True, eq=False)
class Source:
    """Examples that can be read.

    Attributes:
        origin: for error messages: the file or folder.
        y: as in ``Dataset`` (a class may have no example yet).
        class_names: C names; for regression the outputs' names, for language models none.
        value_range: what 1.0 is in stored units.
        read: rows (int64, sorted) → x, as in ``Dataset``; where it is ``Streamed``, nothing has
            been read yet but what its shape depends on. None for texts.
        groups: int64 [N], or None.
        given_test: int64 rows of the source's own test set, or None.
        documents: the texts, by row; None for images and tables of numbers.
        skipped: files that could not be read and were left out.
        numbers: int64 [N], the examples' places in the source with those files among them; None
            for 0 … N − 1. They stay the same whether unreadable files are left out or not.
    """

    origin: str
    y: Array
    class_names: tuple[str, ...]
    value_range: float
    read: Callable[[Integers], Examples] | None = None
    groups: Integers | None = None
    given_test: Integers | None = None
    documents: Documents | None = None
    skipped: tuple[str, ...] = ()
    numbers: Integers | None = None


def reader(x: Examples) -> Callable[[Integers], Examples]:
    """Return a ``read`` for examples that are at hand; all rows are read without a copy."""
    if isinstance(x, Streamed):
        return x.chosen
    array = x
    return lambda rows: array if len(rows) == len(array) else array[rows]


def require_objective(source: str, objective: Objective, *allowed: Objective) -> None:
    """Require that a source has what an objective learns from.

    Raises:
        SpecError: it has not.
    """
    if objective not in allowed:
        raise SpecError(
            f"objective = {objective!r}: data.source = {source!r} has {_HAS[allowed]}; allowed: "
            f"{', '.join(allowed)}"
        )


_HAS: dict[tuple[Objective, ...], str] = {
    ("classification",): "classes to tell apart, no numbers and no texts",
    ("classification", "regression"): "labels for its examples, no texts",
    ("masked_lm", "causal_lm"): "texts without labels",
}
