"""Which of a source's rows are used: ``data.classes`` and ``data.limit``, decided on labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from paribus.data.dataset import Integers
from paribus.data.source import Source
from paribus.data.strata import apportion, take
from paribus.errors import DataError, SpecError, nearest

_NAMES_SHOWN = 20


class Chosen(NamedTuple):
    """Rows of the source (int64, sorted) and what is known of them, numbered anew from 0."""

    rows: Integers
    y: Integers
    class_names: tuple[str, ...]
    groups: Integers | None
    given_test: Integers | None


def choose(
    source: Source, classes: Sequence[int] | Sequence[str] | None, limit: int | None, seed: int
) -> Chosen:
    """Keep the wanted classes, relabelled in their order, and of those a stratified subset.

    ``limit`` is an upper bound: with fewer examples all are kept. Each class keeps its share, in
    the source's own test set and outside of it, and at least one example.

    Raises:
        SpecError: an unknown or repeated class, or a limit below the number of classes.
        DataError: a class without examples, or fewer than 2 classes.
    """
    names = source.class_names
    kept = _indices(classes, names) if classes is not None else list(range(len(names)))
    relabel = np.full(len(names), -1, dtype=np.int64)
    relabel[kept] = np.arange(len(kept))
    y = relabel[source.y]
    rows = np.flatnonzero(y >= 0)
    names = tuple(names[index] for index in kept)
    if len(names) < 2:
        raise DataError(
            f"{source.origin}: {len(names)} class ({', '.join(names)}); classification needs at "
            "least 2"
        )
    sizes = np.bincount(y[rows], minlength=len(names))
    empty = np.flatnonzero(sizes == 0)
    if len(empty):
        listed = ", ".join(repr(names[c]) for c in empty[:_NAMES_SHOWN])
        raise DataError(
            f"{source.origin}: no example of class {listed}; labels must be 0 to "
            f"{len(names) - 1}, each in use. Choose classes that have examples with data.classes"
        )
    is_test = np.zeros(len(source.y), dtype=np.int64)
    if source.given_test is not None:
        is_test[source.given_test] = 1
    if limit is not None and limit < len(rows):
        rows = rows[_limited(y[rows] * 2 + is_test[rows], limit, len(names), seed)]
    groups = None if source.groups is None else source.groups[rows]
    given_test = None if source.given_test is None else np.flatnonzero(is_test[rows])
    return Chosen(rows, y[rows], names, groups, given_test)


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
