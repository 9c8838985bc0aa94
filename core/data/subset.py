"""Which of a source's rows are used: ``data.classes`` and ``data.limit``, decided on labels.

Rows that judge another step are left out before that, and with them the rest of their groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from paribus.architectures import Objective
from paribus.data.dataset import Array, Integers
from paribus.data.source import Source
from paribus.data.strata import apportion, take
from paribus.errors import DataError, SpecError, nearest

_NAMES_SHOWN = 20


class Chosen(NamedTuple):
    """Rows of the source (int64, sorted) and what is known of them, numbered anew from 0."""

    rows: Integers
    y: Array
    class_names: tuple[str, ...]
    groups: Integers | None
    given_test: Integers | None


NO_ROWS: Integers = np.empty(0, dtype=np.int64)


def choose(
    source: Source,
    classes: Sequence[int] | Sequence[str] | None,
    limit: int | None,
    seed: int,
    objective: Objective = "classification",
    exclude: Integers = NO_ROWS,
) -> Chosen:
    """Keep the wanted classes, relabelled in their order, and of those a stratified subset.

    ``limit`` is an upper bound: with fewer examples all are kept. Each class keeps its share, in
    the source's own test set and outside of it, and at least one example. Labels that are no
    classes are kept as they are.

    Args:
        source: the examples.
        classes, limit: of the spec.
        seed: what the subset is drawn from.
        objective: what the labels are for.
        exclude: int64, rows that are not used.

    Raises:
        SpecError: an unknown or repeated class, classes where there are none, or a limit below
            the number of classes.
        DataError: a class without examples, fewer than 2 classes, or no row left.
    """
    class_based = objective == "classification"
    if class_based:
        y, names = _relabelled(source, classes)
    elif classes is not None:
        raise SpecError(
            f"data.classes: with objective = {objective!r} there are no classes; remove the key"
        )
    else:
        y, names = source.y, source.class_names
    strata = y if class_based else np.zeros(len(y), dtype=np.int64)
    used = strata >= 0
    used[exclude] = False
    rows = np.flatnonzero(used)
    count = len(names) if class_based else 1
    empty = np.flatnonzero(np.bincount(strata[rows], minlength=count) == 0)
    if len(empty):
        raise DataError(_lacking(source, names if class_based else (), empty, len(exclude)))
    is_test = np.zeros(len(y), dtype=np.int64)
    if source.given_test is not None:
        is_test[source.given_test] = 1
    if limit is not None and limit < len(rows):
        rows = rows[_limited(strata[rows] * 2 + is_test[rows], limit, count, seed)]
    groups = None if source.groups is None else source.groups[rows]
    given_test = None if source.given_test is None else np.flatnonzero(is_test[rows])
    return Chosen(rows, y[rows], names, groups, given_test)


def left_out(source: Source, exclude: Integers | None) -> Integers:
    """Return the rows, sorted, that may not be used: ``exclude`` and the rest of their groups.

    ``exclude`` are places in the source as ``source.numbers`` counts them.
    """
    if exclude is None or not len(exclude):
        return NO_ROWS
    if source.numbers is not None:
        exclude = np.flatnonzero(np.isin(source.numbers, exclude))
    if source.groups is None:
        return np.unique(exclude)
    return np.flatnonzero(np.isin(source.groups, source.groups[exclude]))


def _relabelled(
    source: Source, classes: Sequence[int] | Sequence[str] | None
) -> tuple[Integers, tuple[str, ...]]:
    """Return labels, −1 for those of other classes, and the names of the wanted ones."""
    names = source.class_names
    kept = _indices(classes, names) if classes is not None else list(range(len(names)))
    relabel = np.full(len(names), -1, dtype=np.int64)
    relabel[kept] = np.arange(len(kept))
    names = tuple(names[index] for index in kept)
    if len(names) < 2:
        raise DataError(
            f"{source.origin}: {len(names)} class ({', '.join(names)}); classification needs at "
            "least 2"
        )
    return relabel[source.y], names


def _lacking(source: Source, names: tuple[str, ...], empty: Integers, excluded: int) -> str:
    since = f", since {excluded} rows judge another step" if excluded else ""
    if not names:
        return f"{source.origin}: no example is left{since}"
    listed = ", ".join(repr(names[c]) for c in empty[:_NAMES_SHOWN])
    return (
        f"{source.origin}: no example of class {listed}{since}; labels must be 0 to "
        f"{len(names) - 1}, each in use. Choose classes that have examples with data.classes"
    )


def _limited(strata: Integers, limit: int, classes: int, seed: int) -> Integers:
    sizes = np.bincount(strata, minlength=2 * classes)
    least = np.minimum(sizes, 1)
    if limit < least.sum():
        raise SpecError(
            f"data.limit = {limit} is too small for one example of each of {classes} classes"
            f"{' in training and test set' if least.sum() > classes else ''}; allowed: at least "
            f"{least.sum()}"
        )
    quota = apportion(limit, sizes, least, sizes)
    return np.flatnonzero(take(strata, quota, seed, "data/limit"))


def _indices(classes: Sequence[int] | Sequence[str], names: tuple[str, ...]) -> list[int]:
    found = []
    for wanted in classes:
        if isinstance(wanted, str):
            if wanted not in names:
                raise SpecError(
                    f"data.classes: there is no class {wanted!r}; allowed: {_listed(names)}."
                    f"{nearest(wanted, names)}"
                )
            found.append(names.index(wanted))
        elif 0 <= wanted < len(names):
            found.append(wanted)
        else:
            raise SpecError(
                f"data.classes: there is no class {wanted}; allowed: 0 to {len(names) - 1}"
            )
    if len(set(found)) < len(found):
        raise SpecError(f"data.classes = {list(classes)} names a class twice; name each one once")
    return found


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(repr(name) for name in names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
