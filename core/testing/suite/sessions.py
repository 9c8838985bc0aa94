"""Sessions repeat to the bit, do not disturb each other, and end; what crosses has its dtype."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paribus.adapter import Session
from paribus.plan import TrainPlan
from paribus.testing import data, plans
from paribus.testing.bench import Bench
from paribus.weights import fingerprint

COUNT = 24


def _plan(bench: Bench, steps: int = 6) -> TrainPlan:
    network = bench.network
    rows = plans.batches(steps, 2, 8, COUNT)
    return plans.steps(network, rows, data.stored(network, COUNT), rule=bench.rule())


def _part(plan: TrainPlan, start: int, stop: int) -> TrainPlan:
    return replace(
        plan,
        indices=plan.indices[start:stop],
        counts=plan.counts[start:stop],
        weights=plan.weights[start:stop],
        scalars={name: values[start:stop] for name, values in plan.scalars.items()},
    )


def _begin(bench: Bench, session: Session, seed: int = 1) -> object:
    network = bench.network
    session.import_weights(data.tensors(network, seed))
    return session.put(data.stored(network, COUNT), data.labels(network, COUNT))


def _state(session: Session) -> tuple[str, ...]:
    slots = session.export_optimizer()
    return fingerprint(session.export_weights()), *(fingerprint(own) for own in slots.values())


@pytest.mark.parametrize("precision", ["float64", "float32", "bfloat16"])
def test_repeats_to_the_bit(bench: Bench, precision: str) -> None:
    """A new session, and one that has been used, do the same; another seed does something else."""
    network = bench.network
    used, outcomes = bench.session(network, bench.task(network), precision), []
    with bench.open(network, bench.task(network), precision) as new:
        for session, seed in ((new, 1), (used, 2), (used, 1)):
            handle = _begin(bench, session, seed)
            losses = session.train_steps(handle, _plan(bench)).result().losses
            outcomes.append((losses.tobytes(), _state(session)))
    assert outcomes[0] == outcomes[2]
    assert outcomes[0] != outcomes[1]


@pytest.mark.parametrize("chunks", ["singles", "four_and_two", "waiting"])
def test_chunks_change_nothing(bench: Bench, chunks: str) -> None:
    """Six steps in one call, in six calls, or in calls of four and two that overlap."""
    session = bench.session(bench.network, bench.task(bench.network))
    plan = _plan(bench)
    cuts = {
        "singles": [(k, k + 1) for k in range(6)],
        "four_and_two": [(0, 4), (4, 6)],
        "waiting": [(0, 3), (3, 6)],
    }
    outcomes = []
    for way in ([(0, 6)], cuts[chunks]):
        handle = _begin(bench, session)
        if chunks == "waiting":
            results = [session.train_steps(handle, _part(plan, *cut)).result() for cut in way]
        else:
            under_way = [session.train_steps(handle, _part(plan, *cut)) for cut in way]
            results = [pending.result() for pending in under_way]
        losses = np.concatenate([result.losses for result in results])
        outcomes.append((losses.tobytes(), _state(session)))
    assert outcomes[0] == outcomes[1]


def test_are_independent(bench: Bench) -> None:
    """Two sessions of one network, used in turn, are each what it is alone."""
    network, plan, alone = bench.network, _plan(bench), []
    task = bench.task(network)
    first = bench.session(network, task)
    for seed in (1, 2):
        handle = _begin(bench, first, seed)
        for k in range(3):
            first.train_steps(handle, _part(plan, k, k + 1)).result()
        alone.append(_state(first))
    with bench.open(network, task) as second:
        handles = [_begin(bench, first, 1), _begin(bench, second, 2)]
        for k in range(3):
            first.train_steps(handles[0], _part(plan, k, k + 1)).result()
            second.train_steps(handles[1], _part(plan, k, k + 1)).result()
        assert [_state(first), _state(second)] == alone


def test_hold_several_datasets(bench: Bench) -> None:
    """A handle means the data that it was given for; freeing one leaves the others."""
    network = bench.network
    session = bench.session(network, bench.task(network))
    session.import_weights(data.tensors(network))
    plan = plans.eval_plan(8, 8, data.scaling(network))
    first, second = (data.stored(network, 8, seed=seed) for seed in (3, 4))
    one = session.put(first, None)
    expected = session.predict(one, plan)
    other = session.put(second, None)
    assert not np.array_equal(session.predict(other, plan), expected)
    assert np.array_equal(session.predict(one, plan), expected)
    session.free(other)
    assert np.array_equal(session.predict(one, plan), expected)


def test_change_no_data(bench: Bench) -> None:
    """The arrays that were put are still what they were, after training on them."""
    network = bench.network
    session = bench.session(network, bench.task(network))
    session.import_weights(data.tensors(network))
    x, y = data.stored(network, COUNT), data.labels(network, COUNT)
    assert y is not None
    before = x.tobytes(), y.tobytes()
    session.train_steps(session.put(x, y), _plan(bench, 2)).result()
    assert (x.tobytes(), y.tobytes()) == before


def test_close_twice(bench: Bench) -> None:
    """Closing is safe to repeat, and leaves other sessions working."""
    network = bench.network
    session = bench.open(network, bench.task(network))
    with bench.open(network, bench.task(network)) as other:
        handle = _begin(bench, other)
        session.close()
        session.close()
        assert other.train_steps(handle, _plan(bench, 1)).result().losses.shape == (1,)


def test_count_compile_seconds(bench: Bench) -> None:
    """A number of seconds that is not negative and does not fall."""
    network = bench.network
    session, seen = bench.session(network, bench.task(network)), []
    handle = _begin(bench, session)
    for steps in (2, 2, 3):
        session.train_steps(handle, _plan(bench, steps)).result()
        seen.append(session.compile_seconds)
    assert all(np.isfinite(seconds) and seconds >= 0 for seconds in seen)
    assert seen == sorted(seen)


def test_save_what_the_framework_s_users_expect(bench: Bench, tmp_path: Path) -> None:
    """``save_native`` returns a path below the folder that it was given, with something in it."""
    network = bench.network
    session = bench.session(network, bench.task(network))
    session.import_weights(data.tensors(network))
    saved = session.save_native(tmp_path / "native")
    assert saved.exists()
    assert saved.is_relative_to(tmp_path)
    files = [path for path in (saved, *saved.rglob("*")) if path.is_file()]
    parameters = network.parameter_count
    assert sum(path.stat().st_size for path in files) >= parameters


def test_return_what_is_promised(bench: Bench) -> None:
    """Shapes and dtypes of all that crosses from a session to core."""
    network = bench.network
    dtype = np.dtype(bench.precision)
    task = bench.task(network, norms=True)
    session = bench.session(network, task)
    handle, plan = _begin(bench, session), _plan(bench, 3)
    looks = plans.eval_plan(13, 8, data.scaling(network))
    loss, gradients = session.gradients(handle, plan)
    results = session.train_steps(handle, plan).result()
    sums = session.evaluate(handle, looks)
    outputs = [
        session.predict(handle, looks),
        session.forward(handle, looks, training=False),
        session.forward(handle, looks, training=True),
    ]
    assert isinstance(loss, float)
    assert list(gradients) == list(task.trainable)
    for name, array in gradients.items():
        assert (array.shape, array.dtype) == (network.tensors[name].shape, dtype), name
    for measured in (results.losses, results.gradient_norms):
        assert measured is not None
        assert measured.shape == (3,)
        assert measured.dtype == np.float64
    assert [type(value) for value in sums] == [float, int, int]
    for array in outputs:
        assert (array.shape, array.dtype) == ((13, network.classes), dtype)


def test_measure_norms_only_where_asked(bench: Bench) -> None:
    """``gradient_norms`` is None unless the task wants them."""
    network = bench.network
    session = bench.session(network, bench.task(network))
    results = session.train_steps(_begin(bench, session), _plan(bench, 1)).result()
    assert results.gradient_norms is None
