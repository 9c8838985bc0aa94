"""Going on with another spec: what is still to come may change, if that is wanted; nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from command import Run, Runner, refused
from experiments import changed
from resumed import ALL, APART, TWELVE, without

from paribus.runstate.changes import obstacle
from paribus.spec import load


def on(run: Runner, tree: dict[str, Any], *options: str, out: str = "out") -> Run:
    spec = run.write(tree, "changed.json")
    done = run.worker("run", spec, "--resume", out, *options, cwd=run.folder)
    return Run(run.folder / out, done)


def test_longer_than_it_began(run: Runner) -> None:
    """With a constant learning rate it is the longer run from its first step on."""
    short = changed(TWELVE, finetune__schedule=None, finetune__keep="last")
    longer = changed(short, finetune__epochs=6)
    run(short, "--stop-after", "5")
    refused(on(run, longer).done, 2, "finetune.epochs = 6, was 4", "--accept-changes goes on")
    found = on(run, longer, "--accept-changes", "--stop-after", "3")
    assert "going on with another spec than before: finetune.epochs = 6, was 4" in found.done.err
    assert found.result["legs"][1]["changes"] == ["finetune.epochs = 6, was 4"]
    found = on(run, longer)  # it is the run's spec now
    once = run(longer, out="once")
    assert found.result["weights_hash"] == once.result["weights_hash"]
    assert found.losses() == once.losses()


def test_what_has_ended_is_told_as_it_ended(run: Runner) -> None:
    """In fine-tuning, after a selection and a search by the recipe that changes."""
    tree = changed(ALL, backend="torch")
    whole = run(tree, out="whole")
    run(tree, "--stop-after", str(whole.result["optimizer_steps"] - 3))
    found = on(run, changed(tree, finetune__epochs=5), "--accept-changes", "--stop-after", "1")
    assert found.done.code == 0, found.done.err
    found = on(run, changed(tree, finetune__epochs=5))
    assert found.done.code == 0, found.done.err
    for step in ("select", "optimize"):
        assert without(found.steps[step], APART) == without(whole.steps[step], APART)
    assert found.steps["finetune"]["epochs"] == 5
    assert whole.steps["finetune"]["epochs"] == 4


STEPS = ("pretrain", "select", "optimize", "finetune")


@pytest.mark.parametrize(
    ("key", "begun", "why"),
    [
        ("name", 4, None),
        ("seed", 0, "decides what every step computes"),
        ("model.architecture", 0, "decides what every step computes"),
        ("data.limit", 1, "decides what every step computes"),
        ("pretrain.data.limit", 0, "belongs to the data"),
        ("pretrain.epochs", 0, None),
        ("pretrain.epochs", 1, None),
        ("pretrain.early_stopping.patience", 1, None),
        ("pretrain.batch_size", 1, "belongs to the other one"),
        ("pretrain.optimizer.name", 1, "belongs to the other one"),
        ("pretrain.optimizer.learning_rate", 1, None),
        ("pretrain.epochs", 2, "compares like with like"),
        ("pretrain.epochs", 4, "has used it and is not done again"),
        ("select.folds", 1, None),
        ("select.folds", 2, "compares like with like"),
        ("select.folds", 3, "is not done again"),
        ("finetune.epochs", 1, None),
        ("finetune.epochs", 2, "compares like with like"),
        ("finetune.batch_size", 1, None),
        ("optimize.trials", 3, None),
        ("optimize.sampler", 3, "compares like with like"),
        ("optimize.trials", 4, "is not done again"),
        ("finetune.epochs", 4, None),
        ("finetune.freeze", 4, "belongs to the other one"),
    ],
)
def test_which_may_change_when(key: str, begun: int, why: str | None) -> None:
    spec = load(ALL)
    found = obstacle(tuple(key.split(".")), 9, 4, spec, STEPS[:begun], 3 if begun else None)
    assert found is None if why is None else why in str(found)


def test_no_step_back() -> None:
    spec = load(ALL)
    assert obstacle(("optimize", "trials"), 3, 4, spec, STEPS[:3], None) is not None
    assert "epoch 3 already" in str(obstacle(("finetune", "epochs"), 2, 4, spec, STEPS, 3))
