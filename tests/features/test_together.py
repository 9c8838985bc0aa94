"""Folds and trials of a frozen body: its features once, and the heads as one computation."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Runner, Worker
from experiments import Tree, changed, small
from resumed import legs, same

HEADS: Tree = small(
    steps=["pretrain", "select", "optimize"],
    model={"architecture": "cnn", "channels": [3, 4]},
    pretrain={"epochs": 1},
    evaluate_test=False,
    finetune={"freeze": "body", "epochs": 3, "batch_size": 16, "keep": "best"},
    select={
        "folds": 3,
        "candidates": [
            {"name": name, "finetune": {"optimizer": {"name": "sgd", "learning_rate": rate}}}
            for name, rate in (("slow", 0.01), ("fast", 0.1))
        ],
    },
    optimize={
        "folds": 2,
        "trials": 3,
        "sampler": "random",
        "search": {"finetune.optimizer.learning_rate": {"low": 0.01, "high": 0.2, "log": True}},
    },
)


def _numbers(step: dict[str, Any]) -> list[float]:
    """Return every loss and accuracy of the folds and trials of a step's results."""
    rows = [fold for one in step.get("candidates", ()) for fold in one["folds"]]
    found = [row[key] for row in rows for key in ("loss", "accuracy")]
    return found + [trial["value"] for trial in step.get("trials", ())]


def test_heads_made_together_learn_what_they_learn_alone(run: Runner) -> None:
    together = run(HEADS, "--verbose", out="together")
    apart = changed(HEADS, batched_trainings=False, cache={"enabled": False})
    alone = run(apart, "--verbose", out="alone")
    assert "trainings of the same shape are made together" in together.done.said
    assert "computed once" in together.done.said
    assert "made together" not in alone.done.said
    for step, choice in (("select", "chosen"), ("optimize", "best")):
        ours, theirs = together.steps[step], alone.steps[step]
        # float64, a dozen steps: rounding.
        np.testing.assert_allclose(_numbers(ours), _numbers(theirs), rtol=1e-12)
        assert len(_numbers(ours)) >= 3
        if step == "select":
            assert ours[choice] == theirs[choice]
        else:
            assert ours[choice]["number"] == theirs[choice]["number"]


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_small_networks_are_made_together_on_other_backends(tmp_path: Path, backend: str) -> None:
    tree = changed(
        HEADS, backend=backend, steps=["select", "optimize"], finetune__freeze="none",
        model={"architecture": "mlp", "hidden": [5]},
    )  # fmt: skip
    with closing(Worker()) as worker:
        run = Runner(tmp_path, worker)
        together = run(tree, "--verbose", out="together")
        alone = run(changed(tree, batched_trainings=False), "--verbose", out="alone")
    assert "made together" in together.done.said
    assert "made together" not in alone.done.said
    for step in ("select", "optimize"):
        ours, theirs = (_numbers(one.steps[step]) for one in (together, alone))
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
        assert len(set(ours)) >= 3


WHOLE: Tree = changed(
    HEADS, steps=["select", "optimize"], precision="float32", finetune__freeze="none"
)


def test_small_networks_with_convolutions_are_made_together_in_float32(run: Runner) -> None:
    """Moments, running statistics and the last, smaller batch of each fold included."""
    together = run(WHOLE, "--verbose", out="together")
    alone = run(changed(WHOLE, batched_trainings=False), "--verbose", out="alone")
    wide = run(changed(WHOLE, precision="float64"), "--verbose", out="wide")
    assert "made together" in together.done.said
    assert "made together" not in alone.done.said
    assert "made together" not in wide.done.said, "it gains nothing"
    ours, theirs = (
        [fold["loss"] for c in one.steps["select"]["candidates"] for fold in c["folds"]]
        for one in (together, alone)
    )
    # float32: rounding, which a dozen steps through norms make larger.
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)
    assert len(set(ours)) == 6
    assert len(together.steps["optimize"]["trials"]) == 3


@pytest.mark.parametrize("stop", [25, 61])
def test_convolutions_stopped_among_others_go_on_to_the_same_bits(run: Runner, stop: int) -> None:
    same(legs(run, WHOLE, [("torch", stop)], "torch", f"at{stop}"), run(WHOLE, out="whole"))


@pytest.mark.parametrize("stop", [25, 61])
def test_a_run_stopped_among_heads_goes_on_to_the_same_bits(run: Runner, stop: int) -> None:
    whole = run(HEADS, out="whole")
    found = legs(run, HEADS, [("torch", stop)], "torch", f"at{stop}")
    same(found, whole)


def test_a_checkpoint_of_many_heads_holds_their_body_once(run: Runner) -> None:
    folder = run.folder / "stopped"
    spec = run.write(changed(HEADS, checkpoints={"steps": 7}), "stopped.json")
    done = run.worker("run", spec, "--out", folder, "--stop-after", "25", cwd=run.folder)
    assert done.code == 0, done.err
    file = max((folder / "checkpoints").glob("0*/tensors.safetensors"))
    names = _header(file.read_bytes())
    assert [name for name in names if name.endswith("conv1.weight")] == ["weights/conv1.weight"]
    # Six trainings, each with its weights and those of its best epoch.
    assert sum(name.endswith("/fc.weight") for name in names) == 12


def _header(data: bytes) -> list[str]:
    length = int.from_bytes(data[:8], "little")
    return [name for name in json.loads(data[8 : 8 + length]) if name != "__metadata__"]
