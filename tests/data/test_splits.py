"""Splits and folds: what they promise for any data, and what they refuse before any training."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from paribus import data
from paribus.errors import DataError, SpecError
from paribus.spec import data as spec


def dataset(y: Any, groups: Any = None, given_test: Any = None) -> data.Dataset:
    y = np.asarray(y, dtype=np.int64)
    names = tuple(f"class {label}" for label in range(int(y.max()) + 1))
    x = np.zeros((len(y), 1), dtype=np.float32)
    as_rows = [None if a is None else np.asarray(a, dtype=np.int64) for a in (groups, given_test)]
    return data.Dataset(x, y, names, 1.0, *as_rows)


def section(**changes: Any) -> spec.Split:
    return spec.Split(**changes)


def unless(refusal: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the function's value, or None where it refuses for the stated reason."""
    try:
        return function(*arguments)
    except DataError as error:
        if re.search(refusal, str(error)):
            return None
        raise


@st.composite
def labels(draw: st.DrawFn, most: int = 6) -> list[int]:
    """Labels in any order, every class with three examples or more."""
    classes = draw(st.integers(2, most))
    sizes = draw(st.lists(st.integers(3, 40), min_size=classes, max_size=classes))
    y = np.repeat(np.arange(classes), sizes)
    return draw(st.randoms(use_true_random=False).map(lambda r: r.sample(y.tolist(), len(y))))


shares = st.sampled_from([0.0, 0.1, 0.15, 0.25, 0.3, 0.4])


@given(labels(), shares, shares, st.booleans(), st.integers(0, 2**31))
def test_parts_are_disjoint_complete_exact_and_repeatable(
    y: Any, validation: float, test: float, stratify: bool, seed: int
) -> None:
    examples = dataset(y)
    asked = section(validation=validation, test=test, stratify=stratify)
    # Refusals are right where there are too few rows; they have tests of their own.
    parts = unless(
        "is 0 rows|fewer than the|need at least one each|no example of class",
        data.split,
        examples,
        asked,
        seed,
    )
    assume(parts is not None)
    together = np.concatenate(parts)
    np.testing.assert_array_equal(np.sort(together), np.arange(len(y)))
    assert all((np.diff(part) > 0).all() for part in parts)
    assert len(parts.test) == np.floor(test * len(y) + 0.5)
    assert len(parts.validation) == np.floor(validation * len(y) + 0.5)
    assert len(np.unique(examples.y[parts.train])) == examples.classes
    for part, again in zip(parts, data.split(examples, asked, seed), strict=True):
        np.testing.assert_array_equal(part, again)


@given(st.lists(st.integers(40, 200), min_size=2, max_size=6), st.integers(0, 100))
def test_stratified_parts_have_each_classes_share(sizes: list[int], seed: int) -> None:
    examples = dataset(np.repeat(np.arange(len(sizes)), sizes))
    parts = data.split(examples, section(validation=0.2, test=0.25), seed)
    for rows, share in ((parts.test, 0.25), (parts.validation, 0.2)):
        counts = np.bincount(examples.y[rows])
        assert np.abs(counts - share * np.array(sizes)).max() <= 2


# Results are published with these rows: another draw is a change of every experiment.
PINNED = [[0, 1, 2, 4, 6], [7, 19, 20, 23, 29], [3, 5, 8, 10, 18]]


def test_the_digits_split_is_the_same_for_ever() -> None:
    digits = data.load(spec.Data(), seed=0)
    parts = data.split(digits, section(), seed=0)
    assert [len(part) for part in parts] == [1168, 270, 359]
    assert [part[:5].tolist() for part in parts] == PINNED
    others = data.split(digits, section(), seed=1)
    assert not np.array_equal(parts.test, others.test)
    own = data.split(digits, section(seed=0), seed=1)
    np.testing.assert_array_equal(parts.test, own.test)


def test_auto_takes_the_given_test_set_and_a_share_pools_it() -> None:
    examples = dataset([0, 1] * 20, given_test=[38, 39])
    for test in ("auto", "given"):
        assert data.split(examples, section(test=test), 0).test.tolist() == [38, 39]
    parts = data.split(examples, section(test=0.5, validation=0.1), 0)
    assert len(parts.test) == 20
    assert len(data.split(dataset([0, 1] * 20), section(test="auto"), 0).test) == 8


grouped = st.integers(4, 12).flatmap(
    lambda count: st.lists(st.integers(0, count - 1), min_size=30, max_size=90)
)


@given(grouped, st.integers(0, 1000), st.booleans())
def test_no_group_is_in_two_parts(groups: Any, seed: int, stratify: bool) -> None:
    y = np.random.default_rng(seed).integers(0, 2, len(groups))
    assume(len(set(y.tolist())) == 2 and len(set(groups)) >= 3)
    examples = dataset(y, groups)
    asked = section(test=0.2, validation=0.2, stratify=stratify)
    parts = unless("no example of class", data.split, examples, asked, seed)
    assume(parts is not None)
    assert all(len(part) for part in parts)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(y)))
    kept = [set(examples.groups[part].tolist()) for part in parts]
    assert sum(len(part) for part in kept) == len(set.union(*kept))


@pytest.mark.parametrize(
    ("examples", "asked", "message"),
    [
        (dataset([0, 0, 0, 0, 1, 1]), {}, "class 'class 1' has 2 of 6 examples, but test and"),
        (dataset([0, 1] * 20), {"test": 0.01}, "test = 0.01 of 40 examples is 0 rows"),
        (dataset([0, 1, 2, 3] * 9), {"test": 0.05}, "is 2 rows, fewer than the 4 classes"),
        (dataset([0, 1] * 9, [0] * 9 + [1] * 9), {}, "2 groups cannot be divided into test and"),
        (dataset([0, 1] * 9, given_test=[]), {}, "own test set has no examples left"),
        (dataset([0, 1] * 9, [0, 1, 2] * 6, [17]), {}, "1 group.s. of data.groups are in"),
        (dataset([0, 0, 0, 1, 1], given_test=[3, 4]), {"validation": 0},
         "no example of class 'class 1' is in the training rows"),
    ],
)  # fmt: skip
def test_impossible_splits_are_refused(
    examples: data.Dataset, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        data.split(examples, section(**asked), 0)


def test_a_given_test_set_must_be_there() -> None:
    with pytest.raises(SpecError, match="'given', but the source has no test set"):
        data.split(dataset([0, 1] * 9), section(test="given"), 0)


@given(labels(), st.integers(2, 5), st.integers(1, 3), st.sampled_from(["stratified", "kfold"]),
       st.integers(0, 2**31))  # fmt: skip
def test_folds_cut_the_development_rows_once_per_repeat(
    y: Any, count: int, repeats: int, scheme: str, seed: int
) -> None:
    examples = dataset(y)
    rows = np.flatnonzero(np.arange(len(y)) % 4 != 1)
    sizes = np.bincount(examples.y[rows], minlength=examples.classes)
    assume(sizes.min() >= count)
    refusal = "no example of class" if scheme == "kfold" else "(never)"
    cut = unless(refusal, data.folds, examples, rows, scheme, count, repeats, seed)
    assume(cut is not None)
    assert [(f.repeat, f.fold) for f in cut] == [
        (repeat, fold) for repeat in range(repeats) for fold in range(count)
    ]
    for repeat in range(repeats):
        of_repeat = [f for f in cut if f.repeat == repeat]
        held = np.concatenate([f.validation for f in of_repeat])
        np.testing.assert_array_equal(np.sort(held), rows)
        lengths = [len(f.validation) for f in of_repeat]
        assert max(lengths) - min(lengths) <= 1
        for fold in of_repeat:
            np.testing.assert_array_equal(
                np.sort(np.concatenate([fold.train, fold.validation])), rows
            )
        if scheme == "stratified":
            table = np.array(
                [np.bincount(examples.y[f.validation], minlength=len(sizes)) for f in of_repeat]
            )
            assert np.ptp(table, axis=0).max() <= 1
    if repeats > 1:
        assert any(
            not np.array_equal(a.validation, b.validation)
            for a, b in zip(cut[:count], cut[count:], strict=False)
        )


@given(grouped, st.integers(2, 4), st.integers(0, 1000))
def test_grouped_folds_cut_no_group(groups: Any, count: int, seed: int) -> None:
    y = np.arange(len(groups)) % 2
    examples = dataset(y, groups)
    assume(len(set(groups)) >= count)
    rows = np.arange(len(y))
    cut = unless("no example of class", data.folds, examples, rows, "grouped", count, 1, seed)
    assume(cut is not None)
    held = np.concatenate([f.validation for f in cut])
    np.testing.assert_array_equal(np.sort(held), np.arange(len(y)))
    for fold in cut:
        assert len(fold.validation)
        assert not set(examples.groups[fold.train]) & set(examples.groups[fold.validation])


def test_folds_are_as_balanced_as_scikit_learns() -> None:
    from sklearn.model_selection import StratifiedKFold

    digits = data.load(spec.Data(), seed=0)
    rows = np.arange(len(digits))
    ours = data.folds(digits, rows, "stratified", 7, 1, 0)
    theirs = StratifiedKFold(7, shuffle=True, random_state=0).split(rows, digits.y)

    def counts(parts: Any) -> Any:
        return np.array([np.bincount(digits.y[part]) for part in parts])

    mine = counts([fold.validation for fold in ours])
    reference = counts([held for _, held in theirs])
    np.testing.assert_array_equal(np.sort(mine, axis=0), np.sort(reference, axis=0))


def test_hold_out_is_one_stratified_draw_per_repeat() -> None:
    examples = dataset([0] * 60 + [1] * 40)
    cut = data.folds(examples, np.arange(100), "holdout", 5, 3, 0, validation=0.25)
    assert [(f.repeat, f.fold) for f in cut] == [(0, 0), (1, 0), (2, 0)]
    assert [np.bincount(examples.y[f.validation]).tolist() for f in cut] == [[15, 10]] * 3
    assert not np.array_equal(cut[0].validation, cut[1].validation)
    with_groups = dataset([0, 1] * 10, np.arange(20) // 4)
    (fold,) = data.folds(with_groups, np.arange(20), "holdout", 5, 1, 0)
    assert not set(with_groups.groups[fold.train]) & set(with_groups.groups[fold.validation])


TWO = dataset([0, 1] * 10)
GROUPED = dataset([0, 1] * 10, np.arange(20) // 10)


@pytest.mark.parametrize(
    ("examples", "scheme", "count", "kind", "message"),
    [
        (TWO, "kfold", 21, SpecError, "folds = 21, but there are 20 development rows"),
        (TWO, "kfold", 1, SpecError, "folds = 1; allowed: at least 2"),
        (TWO, "stratifed", 2, SpecError, "allowed: auto, stratified, .* Did you mean 'stratified'"),
        (TWO, "grouped", 2, SpecError, "the data has no groups"),
        (TWO, "stratified", 11, DataError, "class 'class 0' has 10 of the 20 .* fewer than the"),
        (GROUPED, "grouped", 3, SpecError, "have 2 groups .* allowed: 2 to 2"),
        (GROUPED, "stratified", 2, SpecError, "would put rows of one group"),
        (GROUPED, "kfold", 2, SpecError, "would put rows of one group"),
        (dataset([0] * 9 + [1]), "kfold", 5, DataError,
         "no example of class 'class 1' is in the training part of fold"),
        (dataset([0] * 4 + [1] * 4, [0] * 4 + [1] * 4), "grouped", 2, DataError,
         "no example of class 'class 1' is in the training part of fold"),
        (dataset([0] * 8 + [1], [0] * 9), "holdout", 2, DataError, "all of one group"),
    ],
)  # fmt: skip
def test_impossible_folds_are_refused(
    examples: data.Dataset, scheme: str, count: int, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        data.folds(examples, np.arange(len(examples)), scheme, count, 1, 0)


@pytest.mark.parametrize(
    ("share", "kind", "message"),
    [
        (0.01, DataError, "0.01 of 20 development rows is 0 rows"),
        (0.99, DataError, "is 20 rows"),
        (1.0, SpecError, "allowed: between 0 and 1"),
    ],
)
def test_hold_out_needs_rows_on_both_sides(
    share: float, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        data.folds(TWO, np.arange(20), "holdout", 2, 1, 0, validation=share)
