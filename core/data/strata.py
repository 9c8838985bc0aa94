"""Exact shares: how many of each class, and which ones, as a pure function of the seed.

Splits and folds are part of the experiment, so they are drawn from ``paribus.draws`` and do not
change with the version of another library, which may reorder its draws between releases.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from paribus import draws
from paribus.data.dataset import Integers

Mask = npt.NDArray[np.bool_]

# Draws of whole groups among which the one closest to the classes' shares is taken.
ATTEMPTS = 16


def apportion(total: int, sizes: Integers, least: Integers, most: Integers) -> Integers:
    """Divide ``total`` among strata in proportion to ``sizes``, by largest remainders.

    Each share is within [least, most], int64 like ``sizes``; ``total`` is reached as far as those
    bounds allow. Ties go to the lower index.
    """
    ideal = total * sizes / max(1, int(sizes.sum()))
    quota = np.clip(np.floor(ideal).astype(np.int64), least, most)
    while quota.sum() < total and (quota < most).any():
        quota[np.argmax(np.where(quota < most, ideal - quota, -np.inf))] += 1
    while quota.sum() > total and (quota > least).any():
        quota[np.argmin(np.where(quota > least, ideal - quota, np.inf))] -= 1
    return quota


def grouped_by_label(labels: Integers, seed: int, stream: str) -> Integers:
    """Return the positions of ``labels``, class after class, in drawn order within a class."""
    order = draws.permutation(seed, stream, 0, len(labels))
    return order[np.argsort(labels[order], kind="stable")]


def take(labels: Integers, quota: Integers, seed: int, stream: str) -> Mask:
    """Draw ``quota[c]`` members of each class c; bool, True for those drawn."""
    order = grouped_by_label(labels, seed, stream)
    ordered = labels[order]
    rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    chosen = np.zeros(len(labels), dtype=np.bool_)
    chosen[order[rank < quota[ordered]]] = True
    return chosen


def take_groups(
    groups: Integers, labels: Integers, total: int, leave: int, seed: int, stream: str
) -> Mask:
    """Draw whole groups with about ``total`` rows together, leaving ``leave`` groups or more.

    Groups cannot be cut, so neither the number nor the classes' shares can be exact: of several
    draws the one is taken that leaves no class out of the rest and is closest to the shares.
    """
    ids, member = np.unique(groups, return_inverse=True)
    table = np.zeros((len(ids), int(labels.max()) + 1), dtype=np.int64)
    np.add.at(table, (member, labels), 1)
    sizes, overall = table.sum(axis=1), table.sum(axis=0)
    best: tuple[tuple[int, float], Integers] | None = None
    for attempt in range(ATTEMPTS):
        order = draws.permutation(seed, stream, attempt, len(ids))
        taken = _fill(order, sizes, total, len(ids) - leave)
        counts = table[taken].sum(axis=0)
        distance = np.abs(counts - total * overall / overall.sum()).sum()
        score = (int(((overall > 0) & (counts == overall)).sum()), float(distance))
        if best is None or score < best[0]:
            best = (score, taken)
    chosen = np.zeros(len(ids), dtype=np.bool_)
    if best is not None:
        chosen[best[1]] = True
    return chosen[member]


def deal_groups(groups: Integers, folds: int, seed: int, stream: str) -> Integers:
    """Return a fold number for each row so that no group is cut and folds are about equal.

    The largest group goes first, each to the smallest fold so far; equal groups in drawn order.
    """
    ids, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = draws.permutation(seed, stream, 0, len(ids))
    order = order[np.argsort(-sizes[order], kind="stable")]
    # Every fold gets a group before any gets a second one, because a filled fold is never smallest.
    filled = np.zeros(folds, dtype=np.int64)
    fold = np.zeros(len(ids), dtype=np.int64)
    for group in order:
        fold[group] = np.argmin(filled)
        filled[fold[group]] += sizes[group]
    return fold[member]


def _fill(order: Integers, sizes: Integers, total: int, most: int) -> Integers:
    taken: list[int] = []
    rows = 0
    for group in order:
        if len(taken) == most or rows == total:
            break
        if rows + sizes[group] <= total:
            taken.append(int(group))
            rows += int(sizes[group])
    if not taken:
        # Every group alone is more than was asked for: the smallest is the nearest answer.
        taken = [int(order[np.argmin(sizes[order])])]
    return np.array(taken, dtype=np.int64)
