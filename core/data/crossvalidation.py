"""Cross-validation folds: the same for every candidate and on every backend.

What scikit-learn answers with a warning, a NaN score or an empty part is an error here, before any
training: more folds than examples, a class too small for its folds, a fold that trains without a
class, a group that would sit on both sides.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from paribus.data.dataset import Dataset, Integers
from paribus.data.splits import require_all_classes
from paribus.data.strata import Mask, apportion, deal_groups, grouped_by_label, take, take_groups
from paribus.errors import DataError, SpecError, nearest

Scheme = Literal["auto", "stratified", "kfold", "grouped", "holdout"]
SCHEMES: tuple[Scheme, ...] = ("auto", "stratified", "kfold", "grouped", "holdout")


class Fold(NamedTuple):
    """One training and validation set of a cross-validation: row numbers, int64, sorted."""

    repeat: int
    fold: int
    train: Integers
    validation: Integers


def folds(
    dataset: Dataset,
    rows: Integers,
    scheme: Scheme,
    folds: int,
    repeats: int,
    seed: int,
    validation: float = 0.2,
) -> list[Fold]:
    """Cut the development rows into folds; each is the validation set of one training.

    Args:
        dataset: the examples.
        rows: int64, the development rows (row numbers of the dataset); only these are dealt out.
        scheme: ``stratified`` (each class within one row of equal in all folds), ``kfold`` (sizes
            within one row), ``grouped`` (no group is cut), ``holdout`` (one stratified draw per
            repeat, by groups where the data has them), or ``auto``: grouped where the data has
            groups, else stratified where its labels are classes, else kfold.
        folds: number of folds per repeat, at least 2; not used by ``holdout``.
        repeats: how often everything is drawn again.
        seed: the experiment's seed.
        validation: share of ``rows`` that ``holdout`` puts aside.

    Returns:
        repeats × folds of them (repeats for ``holdout``), with row numbers of the dataset.

    Raises:
        SpecError: more folds than examples or groups, or a scheme that does not fit the groups.
        DataError: a class has fewer examples than folds, or is missing in a training part.
    """
    rows = np.sort(np.asarray(rows, dtype=np.int64))
    if scheme == "auto":
        scheme = "stratified" if dataset.class_based else "kfold"
        scheme = scheme if dataset.groups is None else "grouped"
    _check_scheme(dataset, rows, scheme, folds, repeats)
    labels = dataset.strata[rows]
    found: list[Fold] = []
    for repeat in range(repeats):
        stream = f"folds/{scheme}/{repeat}"
        if scheme == "holdout":
            held = [_hold_out(dataset, rows, validation, seed, stream)]
        else:
            number = np.empty(len(rows), dtype=np.int64)
            if scheme == "grouped" and dataset.groups is not None:
                number = deal_groups(dataset.groups[rows], folds, seed, stream)
            else:
                # Dealing class after class keeps the classes and the folds' sizes equal at once.
                same = labels if scheme == "stratified" else np.zeros_like(labels)
                number[grouped_by_label(same, seed, stream)] = np.arange(len(rows)) % folds
            held = [number == fold for fold in range(folds)]
        found += [Fold(repeat, i, rows[~mask], rows[mask]) for i, mask in enumerate(held)]
    for fold in found:
        where = f"the training part of fold {fold.fold + 1}, repeat {fold.repeat + 1}"
        require_all_classes(dataset, fold.train, where, "select.folds")
    return found


def _hold_out(dataset: Dataset, rows: Integers, share: float, seed: int, stream: str) -> Mask:
    if not 0 < share < 1:
        raise SpecError(f"select.validation = {share:g}; allowed: between 0 and 1")
    count = int(np.floor(share * len(rows) + 0.5))
    if count == 0 or count == len(rows):
        raise DataError(
            f"select.validation = {share:g} of {len(rows)} development rows is {count} rows; "
            "both parts need at least one. Change the share or add examples"
        )
    labels = dataset.strata[rows]
    if dataset.groups is not None:
        groups = dataset.groups[rows]
        if len(np.unique(groups)) < 2:
            raise DataError(
                "select.scheme = 'holdout': the development rows are all of one group "
                "(data.groups), which cannot be cut; add groups"
            )
        return take_groups(groups, labels, count, 1, seed, stream)
    sizes = np.bincount(labels, minlength=dataset.classes)
    quota = apportion(count, sizes, np.zeros_like(sizes), np.maximum(sizes - 1, 0))
    return take(labels, quota, seed, stream)


def _check_scheme(
    dataset: Dataset, rows: Integers, scheme: Scheme, folds: int, repeats: int
) -> None:
    if scheme not in SCHEMES:
        raise SpecError(
            f"select.scheme = {scheme!r}; allowed: {', '.join(SCHEMES)}.{nearest(scheme, SCHEMES)}"
        )
    if repeats < 1:
        raise SpecError(f"select.repeats = {repeats}; allowed: at least 1")
    if scheme == "grouped" and dataset.groups is None:
        raise SpecError(
            "select.scheme = 'grouped', but the data has no groups; name the array of group "
            "numbers with data.groups (source = 'npz')"
        )
    if dataset.groups is not None and scheme in ("stratified", "kfold"):
        raise SpecError(
            f"select.scheme = {scheme!r} would put rows of one group (data.groups) into both the "
            "training and the validation part; use 'grouped' or 'holdout', or remove data.groups"
        )
    if scheme == "holdout":
        return
    if folds < 2:
        raise SpecError(f"select.folds = {folds}; allowed: at least 2")
    if folds > len(rows):
        raise SpecError(
            f"select.folds = {folds}, but there are {len(rows)} development rows; "
            f"allowed: 2 to {len(rows)}"
        )
    if scheme == "grouped" and dataset.groups is not None:
        groups = len(np.unique(dataset.groups[rows]))
        if groups < folds:
            raise SpecError(
                f"select.folds = {folds}, but the development rows have {groups} groups "
                f"(data.groups), which cannot be cut; allowed: 2 to {groups}"
            )
    if scheme == "stratified" and not dataset.class_based:
        raise SpecError(
            f"select.scheme = 'stratified': the objective is {dataset.objective}, whose labels are "
            "no classes; use 'auto' or 'kfold'"
        )
    if scheme == "stratified":
        sizes = np.bincount(dataset.strata[rows], minlength=dataset.classes)
        small = int(np.argmin(sizes))
        if sizes[small] < folds:
            raise DataError(
                f"select.folds = {folds}: class {dataset.class_names[small]!r} has "
                f"{sizes[small]} of the {len(rows)} development rows, fewer than the folds; use "
                "fewer folds, scheme = 'kfold', or leave the class out with data.classes"
            )
