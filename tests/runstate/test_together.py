"""Trainings that are made together: what comes of them, stopped anywhere or never, is the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from command import Run, Runner
from experiments import Tree, changed, small
from resumed import APART, legs, without

# Grows by a factor of a thousand million a step.
GROWING = {"name": "sgd", "learning_rate": 1e6, "weight_decay": 1e3}

# Folds of two candidates that are trained together, one that is not (another network) and one that
# diverges; a search of three trials of two folds. Unequal last batches, early stopping, the best
# epoch kept: 3 · 4 + 6 trainings.
TOGETHER = small(
    seed=5,
    steps=["select", "optimize"],
    model={"architecture": "mlp", "hidden": [6], "dropout": 0.2},
    finetune={
        "epochs": 4,
        "batch_size": 20,
        "clip_norm": 1.0,
        "label_smoothing": 0.1,
        "keep": "best",
        "early_stopping": {"patience": 1},
        "optimizer": {"name": "adamw", "learning_rate": 0.02},
    },
    select={
        "folds": 3,
        "candidates": [
            {"name": "slow"},
            {"name": "other", "model": {"hidden": [5]}},
            {"name": "fast", "finetune": {"optimizer": {"learning_rate": 0.1}}},
            {"name": "wild", "finetune": {"batch_size": 2, "optimizer": GROWING}},
        ],
    },
    optimize={
        "sampler": "random",
        "trials": 3,
        "folds": 2,
        "epochs": 2,
        "search": {"finetune.optimizer.learning_rate": {"low": 1e-3, "high": 0.1, "log": True}},
    },
)
# A shared session's products against those of one: rounding, grown over a few dozen steps.
ROUNDING = 1e-10


def rows_of(run: Run) -> list[Tree]:
    """Return the rows of ``metrics.jsonl`` by training; those of several may be interleaved."""

    def key(row: Tree) -> str:
        named = {k: v for k, v in row.items() if v is not None and not isinstance(v, float)}
        return json.dumps(named, sort_keys=True)

    return sorted(run.rows(), key=key)


def same(one: Any, other: Any, tolerance: float) -> None:
    """Assert that JSON values are equal, numbers to a relative ``tolerance``."""
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            same(one[key], other[key], tolerance)
    elif isinstance(one, list):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            same(left, right, tolerance)
    elif isinstance(one, float):
        assert one == (pytest.approx(other, rel=tolerance) if tolerance else other)
    else:
        assert one == other


def agree(one: Run, other: Run, tolerance: float) -> None:
    """Assert that two runs found the same in every row and every step."""
    same(without(one.steps, APART), without(other.steps, APART), tolerance)
    same(rows_of(one), rows_of(other), tolerance)
    assert one.result["optimizer_steps"] == other.result["optimizer_steps"]


@pytest.fixture(scope="module")
def module_run(tmp_path_factory: pytest.TempPathFactory, worker: Any) -> Runner:
    return Runner(tmp_path_factory.mktemp("together"), worker)


@pytest.fixture(scope="module")
def together(module_run: Runner) -> Run:
    return module_run(TOGETHER, "--verbose", out="together")


def test_as_one_after_another(module_run: Runner, together: Run) -> None:
    """The same rows, results and choices to rounding, diverging folds included."""
    alone = module_run(changed(TOGETHER, batched_trainings=False), "--verbose", out="alone")
    agree(together, alone, ROUNDING)
    wild = together.steps["select"]["candidates"][3]
    assert [fold["loss"] for fold in wild["folds"]] == [None] * 3
    assert "made together" in together.done.said
    assert "made together" not in alone.done.said


@pytest.mark.parametrize("stops", [[7], [40, 1, 55], [90, 30]])
def test_stopped_and_gone_on_with(module_run: Runner, together: Run, stops: list[int]) -> None:
    """In the middle of an epoch of many trainings, and where some have ended: the same bits."""
    out = "legs" + "-".join(map(str, stops))
    found = legs(module_run, TOGETHER, [("torch", stop) for stop in stops], "torch", out)
    assert [leg["to_step"] - leg["after_step"] for leg in found.result["legs"][:-1]] == stops
    agree(found, together, 0.0)


def test_gone_on_with_one_after_another(module_run: Runner, together: Run) -> None:
    """A backend that trains one at a time takes over what was trained together, and gives back."""
    found = legs(module_run, TOGETHER, [("torch", 50), ("tensorflow", 40)], "torch", "elsewhere")
    agree(found, together, ROUNDING)
