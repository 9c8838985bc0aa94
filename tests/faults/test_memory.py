"""Out of memory: the same result with less beside it, or an error that says what would fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command import Run, Runner, refused
from experiments import changed, small
from resumed import APART, TWELVE, by_training, without

from paribus.errors import OutOfMemory
from paribus.plan import evaluation_plan, narrowed
from paribus.thrift import in_fewer_rows

Faulty = Callable[..., Runner]

SCANTY = changed(TWELVE, backend="scanty")
TOGETHER = small(
    backend="scanty",
    steps=["select"],
    model={"architecture": "mlp", "hidden": [6]},
    finetune={"epochs": 3, "batch_size": 8},
    select={
        "folds": 3,
        "candidates": [
            {"name": "slow"},
            {"name": "fast", "finetune": {"optimizer": {"learning_rate": 0.2}}},
        ],
    },
)


def same(one: Run, other: Run) -> None:
    """Assert equal rows and results; weights have their hash there."""
    assert by_training(one) == by_training(other)
    apart = APART | {"out_of_memory"}
    assert without(one.result, apart) == without(other.result, apart)


@pytest.mark.parametrize("steps", [None, 5])
def test_a_device_that_cannot_hold_the_data(
    faulty: Faulty, tmp_path: Path, steps: int | None
) -> None:
    """Steps then bring their own rows, to the same bits, with checkpoints under way or without."""
    tree = SCANTY if steps is None else changed(SCANTY, checkpoints={"steps": steps})
    whole = faulty(tmp_path)(tree, out="whole")
    found = faulty(tmp_path, examples=70)(tree, "--verbose", out="scanty")
    same(found, whole)
    assert "ran out of memory" in found.done.said
    assert "goes on with less" in found.done.said
    (event,) = found.result["out_of_memory"]
    assert "can't allocate memory" in event["error"]
    assert "out_of_memory" not in whole.result


def test_memory_that_runs_out_later_goes_on_from_the_last_checkpoint(
    faulty: Faulty, tmp_path: Path
) -> None:
    """The failing call has made one of its steps already; no such step must count twice."""
    tree = changed(
        SCANTY,
        checkpoints={"steps": 2},
        steps=["pretrain", "finetune"],
        data__classes=[0, 1, 2],
        pretrain={"epochs": 2, "batch_size": 10, "data": {"classes": [3, 4, 5]}},
    )
    whole = faulty(tmp_path)(tree, out="whole")
    found = faulty(tmp_path, rows=10).attempt(tree, "--no-check", out="scanty")
    refused(found.done, 1, "finetune.shards = 2", "10 rows at a time", "go on with")
    assert found.result["status"] == "failed"
    # Where there is more memory, it goes on.
    again = faulty(tmp_path).worker(
        "run", tmp_path / "scanty.json", "--resume", tmp_path / "scanty", cwd=tmp_path
    )
    assert again.code == 0, again.err
    same(Run(found.folder, again), whole)


def test_the_shards_that_would_fit_do_fit(faulty: Faulty, tmp_path: Path) -> None:
    runner = faulty(tmp_path, rows=5)
    found = runner.attempt(SCANTY, out="whole")
    refused(found.done, 1, "A batch of 20 rows does not fit", "finetune.shards = 4",
            "BatchNorm then normalises within 5 rows")  # fmt: skip
    runner(changed(SCANTY, finetune__shards=4), out="cut")
    few = faulty(tmp_path, rows=1).attempt(SCANTY, out="few")
    refused(few.done, 1, "not even 2 of a batch's 20 rows fit")


def test_trainings_made_together_are_made_by_fewer(faulty: Faulty, tmp_path: Path) -> None:
    whole = faulty(tmp_path)(TOGETHER, out="whole")
    found = faulty(tmp_path, together=3)(TOGETHER, "--verbose", out="fewer")
    same(found, whole)
    assert "at most 3 trainings are made together" in found.done.said
    alone = faulty(tmp_path, together=2)(TOGETHER, out="alone")
    assert [event["then"] for event in alone.result["out_of_memory"]] == [
        "at most 3 trainings are made together",
        "trainings are made one after another",
    ]
    pairs = zip(by_training(alone), by_training(whole), strict=True)
    # Products of another shape round otherwise; over 15 steps that grows a little.
    assert all(one["loss"] == pytest.approx(other["loss"], rel=1e-10) for one, other in pairs)


JUDGED = changed(SCANTY, data__limit=None, data__split={"validation": 0.4, "test": 0.3})


def test_rows_that_are_judged_are_fewer_at_a_time(faulty: Faulty, tmp_path: Path) -> None:
    """Of 215 validation rows 64 fit at a time; they have the same bits, and so has the run."""
    whole = faulty(tmp_path)(JUDGED, out="whole")
    found = faulty(tmp_path, judged=70)(JUDGED, "--verbose", out="fewer")
    same(found, whole)
    assert [event["then"] for event in found.result["out_of_memory"]] == [
        "one step at a time is computed, with nothing else on the device",
        "64 rows are judged at a time",
    ]
    assert "64 rows are judged at a time, to the same result" in found.done.said


def test_fewer_rows_with_other_last_bits_are_not_judged_unasked(
    faulty: Faulty, tmp_path: Path
) -> None:
    failed = faulty(tmp_path, judged=60, rounds=True).attempt(JUDGED, "--no-check", out="strict")
    refused(failed.done, 1, "32 at a time fit", "other last bits", "numerics = 'fast'")
    fast = changed(JUDGED, numerics="fast", precision="float32")
    found = faulty(tmp_path, judged=60, rounds=True)(fast, out="fast")
    assert found.result["out_of_memory"][-1]["then"] == "32 rows are judged at a time"
    few = faulty(tmp_path, judged=0).attempt(JUDGED, out="none")
    refused(few.done, 1, "not even one row can be judged")


def test_predictions_take_as_many_rows_as_fit() -> None:
    asked, closed = [], []

    def predict(rows: int) -> str:
        asked.append(rows)
        if rows > 70:
            raise OutOfMemory("no more memory")
        return "found"

    with pytest.warns(RuntimeWarning, match="no more memory; .* rows are predicted") as said:
        assert in_fewer_rows(predict, 256, lambda: closed.append(True)) == "found"
    assert len(said) == 2
    assert asked == [256, 128, 64]
    assert closed == [True, True]
    with pytest.warns(RuntimeWarning), pytest.raises(OutOfMemory):
        in_fewer_rows(lambda rows: predict(rows + 70), 8, lambda: None)


def test_narrower_batches_have_the_same_rows() -> None:
    wide = evaluation_plan(np.arange(23) * 3, 9)
    for rows in (1, 2, 4, 8, 9):
        plan = narrowed(wide, rows)
        real = np.arange(plan.indices.shape[1]) < plan.counts[:, None]
        assert plan.indices.shape[1] == rows
        assert plan.counts.min() > 0
        assert plan.indices[real].tolist() == (np.arange(23) * 3).tolist()
