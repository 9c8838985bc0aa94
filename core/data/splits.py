"""Which rows train, validate and test: the same on every backend.

What would otherwise surface late, as an empty part or a class that nobody learns, is an error here,
before any training. Draws are ours (see ``strata``), so the parts stay the same across library
versions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from paribus import draws
from paribus.data.dataset import Dataset, Integers
from paribus.data.strata import apportion, take, take_groups
from paribus.errors import DataError, SpecError

if TYPE_CHECKING:
    from paribus.spec import data as spec

AUTO_TEST_SHARE = 0.2


class Split(NamedTuple):
    """Row numbers of the three parts: int64, sorted, disjoint, together all rows."""

    train: Integers
    validation: Integers
    test: Integers


def split(dataset: Dataset, section: spec.Split, seed: int) -> Split:
    """Divide all rows into training, validation and test rows.

    Shares are of the whole, rounded to the nearest row. With a numeric ``test`` the source's own
    test set, if any, is pooled with the rest and drawn anew. Stratified parts have each class's
    share exactly (to one row) and at least one row of each class. With groups no group is cut;
    shares, those of the classes too, are then as close as whole groups allow.

    Args:
        dataset: the examples.
        section: ``data.split`` of the spec.
        seed: the experiment's, used where ``section.seed`` is None.

    Raises:
        DataError: a part would be empty, or a class has too few examples.
        SpecError: ``test = "given"`` and the source has no test set.
    """
    seed = seed if section.seed is None else section.seed
    everything = np.arange(len(dataset), dtype=np.int64)
    share = section.test
    if share == "auto":
        share = AUTO_TEST_SHARE if dataset.given_test is None else "given"
    if isinstance(share, str):
        if dataset.given_test is None:
            raise SpecError(
                "data.split.test = 'given', but the source has no test set of its own; give a "
                f"share, for example {AUTO_TEST_SHARE:g}, or 'auto'"
            )
        test = np.sort(dataset.given_test)
        _check_given(dataset, test)
    else:
        later = ("validation", "train") if section.validation else ("train",)
        test = _part(dataset, everything, ("test", *later), share, section.stratify, seed)
    rest = np.setdiff1d(everything, test)
    parts = ("validation", "train")
    validation = _part(dataset, rest, parts, section.validation, section.stratify, seed)
    train = np.setdiff1d(rest, validation)
    require_all_classes(dataset, train, "the training rows", "data.split")
    return Split(train, validation, test)


def _part(
    dataset: Dataset,
    rows: Integers,
    parts: tuple[str, ...],
    share: float,
    stratify: bool,
    seed: int,
) -> Integers:
    """Draw the rows of ``parts[0]`` from ``rows``, leaving enough for the other parts."""
    name, later = parts[0], len(parts) - 1
    if share == 0:
        return np.empty(0, dtype=np.int64)
    count = int(np.floor(share * len(dataset) + 0.5))
    if count == 0 or count > len(rows) - later:
        raise DataError(
            f"data.split.{name} = {share:g} of {len(dataset)} examples is {count} rows, of "
            f"{len(rows)} that are left for {' and '.join(parts)}; allowed: at least 1 row each. "
            "Change the share or add examples"
        )
    labels, stream = dataset.strata[rows], f"split/{name}"
    if dataset.groups is not None:
        groups = dataset.groups[rows]
        there = len(np.unique(groups))
        if there < len(parts):
            raise DataError(
                f"data.groups: {there} groups cannot be divided into {' and '.join(parts)} "
                "without cutting one; add groups, or set a share of data.split to 0"
            )
        return rows[take_groups(groups, labels, count, later, seed, stream)]
    if not (stratify and dataset.class_based):
        return np.sort(rows[draws.permutation(seed, stream, 0, len(rows))[:count]])
    sizes = np.bincount(labels, minlength=dataset.classes)
    small = int(np.argmin(sizes))
    if sizes[small] < len(parts):
        raise DataError(
            f"data.split: class {dataset.class_names[small]!r} has {sizes[small]} of "
            f"{len(rows)} examples, but {' and '.join(parts)} need at least one each; add "
            "examples, leave the class out with data.classes, or set data.split.stratify = false"
        )
    if count < dataset.classes:
        raise DataError(
            f"data.split.{name} = {share:g} of {len(dataset)} examples is {count} rows, fewer "
            f"than the {dataset.classes} classes; use a larger share, or set "
            "data.split.stratify = false"
        )
    quota = apportion(count, sizes, np.ones_like(sizes), sizes - later)
    return rows[take(labels, quota, seed, stream)]


def _check_given(dataset: Dataset, test: Integers) -> None:
    if len(test) == 0:
        raise DataError(
            "data.split.test: the source's own test set has no examples left after data.classes "
            "and data.limit; give a share instead, for example 0.2"
        )
    if dataset.groups is not None:
        inside = np.isin(np.arange(len(dataset)), test)
        both = np.intersect1d(dataset.groups[inside], dataset.groups[~inside])
        if len(both):
            raise DataError(
                f"data.split.test: {len(both)} group(s) of data.groups are in the source's own "
                "test set and outside of it too; give a share instead, for example 0.2"
            )


def require_all_classes(dataset: Dataset, rows: Integers, where: str, key: str) -> None:
    """Raise DataError, naming ``key`` and ``where``, unless every class has one of ``rows``."""
    if not dataset.class_based:
        return
    sizes = np.bincount(dataset.strata[rows], minlength=dataset.classes)
    missing = [dataset.class_names[c] for c in np.flatnonzero(sizes == 0)]
    if missing:
        raise DataError(
            f"{key}: no example of class {missing[0]!r} is in {where}"
            f"{f' (and {len(missing) - 1} more classes)' if len(missing) > 1 else ''}; nothing "
            "can be learned about it. Add examples, stratify, or leave it out with data.classes"
        )
