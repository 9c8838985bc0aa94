"""Every row trains once per epoch, in the order of the seed, however an epoch is cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paribus.batches import Schedule
from paribus.errors import SpecError
from paribus.inputs import Inputs
from paribus.plan import Augmentation, Integers, Preprocess, Targets
from paribus.spec.training import Recipe


def schedule(rows: int, seed: int = 0, augment=None, inputs=None, **recipe) -> Schedule:
    return Schedule(
        Recipe.model_validate(recipe),
        recipe.get("epochs", 3),
        np.arange(rows, dtype=np.int64) * 10,
        seed,
        "test",
        inputs or Inputs(augment=augment or (lambda epoch, order: None)),
    )


def real_rows(plan) -> list[list[int]]:
    """Row numbers of each step, padding left out."""
    return [
        [
            int(plan.indices[k, s, i])
            for s in range(plan.counts.shape[1])
            for i in range(plan.counts[k, s])
        ]
        for k in range(plan.steps)
    ]


def steps_of(epoch, per_epoch: int, limit: int) -> list[list[int]]:
    steps, start = [], 0
    while start < per_epoch:
        plan = epoch.plan(start, limit)
        steps += real_rows(plan)
        start += plan.steps
    return steps


sizes = st.tuples(st.integers(2, 200), st.integers(1, 64), st.integers(1, 8)).filter(
    lambda t: t[2] <= t[1]
)


@given(sizes, st.integers(1, 20), st.integers(0, 5))
def test_an_epoch_holds_every_row_once_however_it_is_cut(size, limit, number):
    rows, batch, shards = size
    work = schedule(rows, batch_size=batch, shards=shards)
    steps = steps_of(work.epoch(number), work.steps_per_epoch, limit)
    flat = [row for step in steps for row in step]
    dropped = rows % batch if rows % batch == 1 and batch > 1 else 0
    assert len(flat) == len(set(flat)) == rows - dropped
    assert steps == steps_of(work.epoch(number), work.steps_per_epoch, 1)


@given(sizes)
def test_weights_sum_to_one_in_every_step_and_padding_weighs_nothing(size):
    rows, batch, shards = size
    work = schedule(rows, batch_size=batch, shards=shards)
    start = 0
    while start < work.steps_per_epoch:
        plan = work.epoch(0).plan(start, 100)
        assert plan.weights.sum(axis=(1, 2)) == pytest.approx(1.0)
        padded = np.arange(plan.indices.shape[2]) >= plan.counts[:, :, None]
        assert (plan.weights[padded] == 0).all()
        assert (plan.counts >= 1).all()
        start += plan.steps


def test_shards_are_consecutive_parts_of_the_same_batch():
    whole = schedule(64, batch_size=16, shards=1).epoch(2).plan(0, 4)
    parts = schedule(64, batch_size=16, shards=4).epoch(2).plan(0, 4)
    assert parts.indices.shape == (4, 4, 4)
    assert (parts.indices.reshape(4, 1, 16) == whole.indices).all()


def test_gradient_descent_takes_one_step_over_all_rows_per_epoch():
    work = schedule(103, batch_size=32, optimizer="gradient_descent")
    plan = work.epoch(0).plan(0, 10)
    assert plan.steps == work.steps_per_epoch == 1
    assert plan.counts.tolist() == [[26, 26, 26, 25]]
    assert sorted(real_rows(plan)[0]) == [10 * i for i in range(103)]
    assert np.unique(plan.weights[plan.weights > 0]) == pytest.approx([1 / 103])


def test_a_last_batch_can_be_dropped_and_one_row_always_is():
    assert schedule(70, batch_size=32).sizes == (32, 32, 6)
    assert schedule(70, batch_size=32, last_batch="drop").sizes == (32, 32)
    assert schedule(65, batch_size=32).sizes == (32, 32)


def test_no_step_at_all_is_an_error_that_says_what_to_change():
    with pytest.raises(SpecError, match="batch_size = 32"):
        schedule(20, batch_size=32, last_batch="drop")


def test_epochs_differ_and_seeds_differ():
    first = steps_of(schedule(64, batch_size=16).epoch(0), 4, 4)
    assert first != steps_of(schedule(64, batch_size=16).epoch(1), 4, 4)
    assert first != steps_of(schedule(64, 1, batch_size=16).epoch(0), 4, 4)


def test_each_row_keeps_its_own_draws_however_the_epoch_is_cut():
    def augment(epoch: int, order: Integers) -> Augmentation:
        count = len(order)
        position = np.arange(count, dtype=np.int64)
        flips = position % 2 == 0
        return Augmentation(position, position + 1, flips, ~flips)

    work = schedule(50, batch_size=8, shards=2, augment=augment)
    epoch = work.epoch(0)
    drawn = {}
    start = 0
    while start < work.steps_per_epoch:
        plan = epoch.plan(start, 3)
        for k, s, i in np.ndindex(plan.indices.shape):
            if i < plan.counts[k, s]:
                drawn[int(plan.indices[k, s, i])] = int(plan.augmentation.top[k, s, i])
        start += plan.steps
    assert [drawn[int(row)] for row in epoch.order] == list(range(50))


def test_learning_rates_continue_over_epochs():
    work = schedule(64, batch_size=16, epochs=5, schedule={"name": "linear", "final": 0.0})
    rates = [rate for e in range(5) for rate in work.epoch(e).plan(0, 10).scalars["learning_rate"]]
    assert rates == pytest.approx([0.01 * (1 - t / 20) for t in range(20)])


LENGTHS = np.random.default_rng(3).integers(1, 33, 2000)


def reading(**fields) -> Inputs:
    """Rows are numbered 0, 10, 20, …; only those are read."""
    lengths = np.full(20000, -1)
    lengths[::10] = LENGTHS
    return Inputs(preprocess=Preprocess(length=32), lengths=lengths, widths=(8, 16, 32), **fields)


@given(sizes, st.integers(1, 20), st.booleans())
def test_texts_are_padded_to_the_smallest_width_that_fits(size, limit, grouped):
    rows, batch, _ = size
    work = schedule(rows, inputs=reading(), batch_size=batch, group_by_length=grouped)
    epoch, start, seen = work.epoch(1), 0, []
    while start < work.steps_per_epoch:
        plan = epoch.plan(start, limit)
        start += plan.steps
        for step in real_rows(plan):
            longest = max(LENGTHS[row // 10] for row in step)
            assert plan.preprocess.length == next(w for w in (8, 16, 32) if w >= longest)
            seen += step
    assert len(set(seen)) == len(seen) == sum(work.sizes)


def test_grouping_pads_less_and_mixes_batches():
    alone = schedule(1600, inputs=reading(), batch_size=16).epoch(0)
    grouped = schedule(1600, inputs=reading(), batch_size=16, group_by_length=True).epoch(0)

    def widths(epoch):
        found, start = [], 0
        while start < 100:
            plan = epoch.plan(start, 64)
            found += [plan.preprocess.length] * plan.steps
            start += plan.steps
        return found

    assert sum(widths(grouped)) < 0.7 * sum(widths(alone))
    # A drawn order of batches: neither ascending nor in runs.
    changes = sum(a != b for a, b in zip(widths(grouped), widths(grouped)[1:], strict=False))
    assert changes > 30
    other = schedule(1600, inputs=reading(), batch_size=16, group_by_length=True).epoch(1)
    assert widths(other) != widths(grouped)


def test_class_weights_make_a_weighted_mean():
    weights = np.where(np.arange(1000) % 20 == 0, 3.0, 1.0)
    work = schedule(10, inputs=Inputs(row_weights=weights), batch_size=5, shards=2)
    plan = work.epoch(0).plan(0, 2)
    real = np.arange(3) < plan.counts[..., None]
    assert plan.weights.sum(axis=(1, 2)) == pytest.approx([1.0, 1.0], rel=1e-15)
    for step in range(2):
        own = weights[plan.indices[step]]
        assert plan.weights[step][real[step]] == pytest.approx(
            (own / own[real[step]].sum())[real[step]]
        )
    assert work.totals(plan) == pytest.approx(
        [(weights[plan.indices] * real)[k].sum() for k in (0, 1)]
    )


def test_a_language_model_s_loss_is_a_mean_over_tokens():
    causal = Inputs("causal_lm", Preprocess(length=7))
    plan = schedule(10, inputs=causal, batch_size=4).epoch(0).plan(0, 2)
    assert (plan.weights == 1 / 28).all()

    def mask(rows, epoch, positions):
        counts = positions % 3 + 1
        blank = np.zeros((*rows.shape, 3), dtype=np.int64)
        return Targets(blank.astype(np.int32), blank, blank, counts)

    masked = schedule(10, inputs=Inputs("masked_lm", Preprocess(length=7), mask=mask), batch_size=4)
    plan = masked.epoch(0).plan(0, 2)
    counts = [1 + 2 + 3 + 1, 2 + 3 + 1 + 2]
    assert plan.weights[:, 0, 0] == pytest.approx([1 / n for n in counts])
    assert masked.totals(plan) == pytest.approx(counts)


@given(st.integers(1, 5), st.integers(0, 6), st.integers(1, 4))
def test_a_step_s_keys_are_the_same_however_a_training_is_cut(limit, step, nodes):
    """A pure function of the step: a training that goes on needs nothing of what was before."""
    work = replace(schedule(42, batch_size=6), noisy=nodes)
    whole = np.concatenate([work.epoch(n).plan(0, 100).noise for n in range(2)])
    assert whole.shape == (2 * work.steps_per_epoch, nodes, 2)
    assert len(np.unique(whole.reshape(-1, 2), axis=0)) == len(whole) * nodes
    number, start = divmod(min(step, 2 * work.steps_per_epoch - 1), work.steps_per_epoch)
    part = work.epoch(number).plan(start, limit).noise
    first = number * work.steps_per_epoch + start
    assert np.array_equal(part, whole[first : first + len(part)])


def test_a_network_that_drops_nothing_has_no_keys():
    assert schedule(40, batch_size=6).epoch(0).plan(0, 100).noise is None
