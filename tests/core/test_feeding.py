"""What reaches a session: the rows that a plan reads, one plan ahead, and never all of them."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from paribus import feeding
from paribus.adapter import Session
from paribus.data import Streamed, memory
from paribus.errors import DataError, SpecError
from paribus.feeding import Feed
from paribus.plan import EvalPlan, Sums, Targets, TrainPlan, evaluation_plan

Array = npt.NDArray[Any]

X = np.random.default_rng(0).normal(size=(40, 8))
Y = np.arange(40) % 7


class Fake:
    """A session that keeps what it is given, and whose outputs are the rows themselves."""

    def __init__(self) -> None:
        self.held: dict[int, tuple[Array, Array | None]] = {}
        self.put_rows: list[int] = []
        self.most_held = 0

    def put(self, x: Array, y: Array | None) -> int:
        self.put_rows.append(len(x))
        self.held[len(self.put_rows)] = (x, y)
        self.most_held = max(self.most_held, len(self.held))
        return len(self.put_rows)

    def free(self, handle: int) -> None:
        del self.held[handle]

    def predict(self, handle: int, plan: EvalPlan) -> Array:
        x, _ = self.held[handle]
        rows = [x[plan.indices[m, :n]] for m, n in enumerate(plan.counts)]
        return np.concatenate(rows)

    def evaluate(self, handle: int, plan: EvalPlan) -> Sums:
        _, y = self.held[handle]
        assert y is not None
        rows = [y[plan.indices[m, :n]] for m, n in enumerate(plan.counts)]
        return Sums(float(self.predict(handle, plan).sum()), int(np.concatenate(rows).sum()),
                    int(plan.counts.sum()))  # fmt: skip


class Source:
    """Streamed examples that count how they are read."""

    def __init__(self) -> None:
        self.reads: list[Array] = []
        self.threads: set[int] = set()
        self.x = Streamed(self.read, X.shape, X.dtype, lambda: "test")

    def read(self, rows: Array) -> Array:
        self.reads.append(rows)
        self.threads.add(threading.get_ident())
        return X[rows]


def train_plan(*indices: Any) -> TrainPlan:
    """Return a plan of single shards; ``indices`` are its steps'."""
    array = np.array(indices)[:, None]
    K, S, b = array.shape
    return TrainPlan(
        array, np.full((K, S), b), np.full(array.shape, 1 / b), {"learning_rate": np.ones(K)}
    )


def feed_of(x: Any, y: Array | None = Y) -> tuple[Feed, Fake]:
    fake = Fake()
    return Feed(cast(Session, fake), x, y), fake


def test_rows_are_read_once_and_plans_numbered_anew() -> None:
    source = Source()
    feed, fake = feed_of(source.x)
    plans = [train_plan([30, 3, 3], [5, 30, 0]), train_plan([7, 8, 9])]
    with closing(feed.fed(plans)) as fed:
        for plan, given in zip(plans, fed, strict=True):
            x, y = fake.held[given.handle]
            assert y is not None
            np.testing.assert_array_equal(x[given.plan.indices], X[plan.indices])
            np.testing.assert_array_equal(y[given.plan.indices], Y[plan.indices])
            assert given.plan.indices.dtype == np.int64
            assert replace(given.plan, indices=plan.indices) == plan  # nothing else has changed
            feed.free(given)
    assert [rows.tolist() for rows in source.reads] == [[0, 3, 5, 30], [7, 8, 9]]
    assert fake.held == {}


def test_the_next_plan_is_read_while_one_runs_and_no_further() -> None:
    source = Source()
    feed, fake = feed_of(source.x)
    asked: list[int] = []

    def plans() -> Any:
        for number in range(5):
            asked.append(number)
            yield train_plan([number, number + 1])

    with closing(feed.fed(plans())) as fed:
        for running, given in enumerate(fed):
            assert asked == list(range(min(running + 2, 5)))
            feed.free(given)
    assert threading.get_ident() not in source.threads
    assert fake.most_held == 1


def test_examples_in_memory_are_put_once_as_they_are() -> None:
    feed, fake = feed_of(X)
    plans = [train_plan([30, 3, 3]), train_plan([7, 8, 9])]
    given = list(feed.fed(plans))
    for each in given:
        feed.free(each)
    assert [each.plan for each in given] == plans
    assert fake.put_rows == [40]
    assert fake.held[given[0].handle][0] is X
    assert feed.steps(8) is None


def test_what_is_read_at_once_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "CHUNK_BYTES", 10 * X[0].nbytes)
    source = Source()
    feed, fake = feed_of(source.x)
    assert [feed.steps(rows) for rows in (1, 3, 5, 10, 11)] == [10, 3, 2, 1, 1]
    feed.predict(evaluation_plan(np.arange(39), 4))
    assert fake.put_rows == [8, 8, 8, 8, 7]
    assert fake.most_held == 1
    assert fake.held == {}


def test_sums_and_outputs_are_the_same_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Added up piece by piece in both cases; all at once they would differ in the last bits."""
    monkeypatch.setattr(feeding, "CHUNK_BYTES", 10 * X[0].nbytes)
    rows = np.random.default_rng(1).permutation(40)[:35]
    plan = evaluation_plan(rows, 4)
    found = [feed_of(x)[0] for x in (Source().x, X)]
    sums = [feed.evaluate(plan) for feed in found]
    assert sums[0] == sums[1]
    assert sums[0].loss == pytest.approx(X[rows].sum())
    assert sums[0][1:] == (Y[rows].sum(), 35)
    for feed in found:
        np.testing.assert_array_equal(feed.predict(plan), X[rows])


def test_targets_go_with_their_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "CHUNK_BYTES", 10 * X[0].nbytes)
    plan = evaluation_plan(np.arange(20), 4)
    numbered = np.arange(20).reshape(5, 4)
    wide = numbered[..., None].repeat(3, axis=2)
    targets = Targets(wide.astype(np.int32), wide, wide, numbered)
    feed, _ = feed_of(Source().x)
    seen = []

    def predict(handle: int, part: EvalPlan) -> Array:
        assert part.targets is not None
        assert len(part.targets.tokens) == len(part.counts) == len(part.indices)
        seen.append(part.targets.counts)
        return part.targets.positions

    feed.session.predict = predict  # type: ignore[method-assign, assignment]
    np.testing.assert_array_equal(feed.predict(replace(plan, targets=targets)), wide)
    np.testing.assert_array_equal(np.concatenate(seen), numbered)
    assert len(seen) == 3


def test_without_labels_none_are_put() -> None:
    feed, fake = feed_of(Source().x, None)
    with closing(feed.fed([train_plan([1, 2])])) as fed:
        assert fake.held[next(fed).handle][1] is None


def test_what_cannot_be_read_is_said_and_ends_the_thread() -> None:
    def read(rows: Array) -> Array:
        if 9 in rows:
            raise DataError("gone")
        return X[rows]

    feed, _ = feed_of(Streamed(read, X.shape, X.dtype, lambda: "test"))
    fed = feed.fed([train_plan([1, 2]), train_plan([8, 9]), train_plan([3, 4])])
    with closing(fed), pytest.raises(DataError, match="gone"):
        list(map(feed.free, fed))
    assert not [t for t in threading.enumerate() if t.name.startswith("paribus-reader")]


def test_more_rows_at_once_than_the_memory_takes_are_refused_unread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feeding, "CHUNK_BYTES", X[0].nbytes)
    monkeypatch.setattr(memory, "available", lambda: 4 * 10 * X[0].nbytes)
    source = Source()
    feed, _ = feed_of(source.x)
    with pytest.raises(SpecError, match="reads 11 rows at once"):
        feed.predict(evaluation_plan(np.arange(22), 11))
    assert source.reads == []
    assert len(feed.predict(evaluation_plan(np.arange(20), 10))) == 20
    assert len(feed_of(X)[0].predict(evaluation_plan(np.arange(22), 11))) == 22
