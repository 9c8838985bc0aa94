"""One experiment on every backend: the same folds, choices, losses and answers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from command import Done, Run, process
from experiments import Tree, small
from labs import PROMISED

OTHERS = PROMISED[1:]


def key(row: Tree) -> str:
    """Return what a row of ``metrics.jsonl`` is about, without what was measured."""
    measured = ("loss", "accuracy")
    return json.dumps({k: v for k, v in row.items() if k not in measured}, sort_keys=True)


@pytest.mark.parametrize("name", PROMISED)
def test_every_backend_runs_the_four_steps(four: dict[str, Run], name: str) -> None:
    assert four[name].done.code == 0, four[name].done.err
    assert four[name].result["status"] == "complete"
    assert four[name].result["backend"] == name


@pytest.mark.parametrize("name", PROMISED)
def test_without_a_terminal_nothing_is_said_on_the_way(four: dict[str, Run], name: str) -> None:
    assert four[name].done.err == ""


@pytest.mark.parametrize("name", OTHERS)
def test_the_same_choices(four: dict[str, Run], name: str) -> None:
    ours, theirs = four["torch"].steps, four[name].steps
    assert theirs["select"]["chosen"] == ours["select"]["chosen"]
    for left, right in zip(
        ours["select"]["candidates"], theirs["select"]["candidates"], strict=True
    ):
        assert [f["rows"] for f in left["folds"]] == [f["rows"] for f in right["folds"]]
        assert left["parameters"] == right["parameters"]
        assert right["mean"] == pytest.approx(left["mean"], rel=1e-8)
    assert theirs["optimize"]["best"]["number"] == ours["optimize"]["best"]["number"]
    assert [trial["params"] for trial in ours["optimize"]["trials"]] == [
        trial["params"] for trial in theirs["optimize"]["trials"]
    ]
    for step in ("pretrain", "finetune"):
        assert theirs[step]["kept_epoch"] == ours[step]["kept_epoch"]


@pytest.mark.parametrize("name", OTHERS)
def test_the_same_loss_at_every_step(four: dict[str, Run], name: str) -> None:
    """Within 1e-9: float64 rounds at 1e-16, and a few dozen steps amplify that."""
    ours = {key(row): row["loss"] for row in four["torch"].rows()}
    theirs = {key(row): row["loss"] for row in four[name].rows()}
    # Trainings that a backend makes together take turns in the file.
    assert sorted(ours) == sorted(theirs)
    worst = max(abs(theirs[k] - loss) / abs(loss) for k, loss in ours.items())
    assert worst < 1e-9


@pytest.mark.parametrize("name", OTHERS)
def test_the_same_weights_and_test(four: dict[str, Run], name: str) -> None:
    ours, theirs = four["torch"], four[name]
    left, right = ours.tensors(), theirs.tensors()
    assert list(left) == list(right)
    for tensor in left:
        scale = abs(left[tensor]).max() or 1.0
        assert abs(left[tensor] - right[tensor]).max() / scale < 1e-8
    a, b = ours.result["test"], theirs.result["test"]
    assert a["examples"] == b["examples"]
    assert abs(a["accuracy"] - b["accuracy"]) * a["examples"] < 1.5
    assert math.isclose(a["loss"], b["loss"], rel_tol=1e-9)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    folder = tmp_path_factory.mktemp("compared")
    tree = small(steps=["select", "finetune"], select={"folds": 2, "candidates": [{"name": "mlp"}]})
    (folder / "spec.json").write_text(json.dumps(tree))
    names = "torch,tensorflow"
    done = process("compare", "spec.json", "--backends", names, "--out", "out", cwd=folder)
    return folder / "out", done


def test_compare_prints_one_table(compared: tuple[Path, Done]) -> None:
    folder, done = compared
    assert done.code == 0, done.err
    for word in ("the reference is torch", "tensorflow", "training loss", "test accuracy",
                 "largest loss difference", "examples per second", "of it compiling",
                 "peak memory", "same choices", "yes"):  # fmt: skip
        assert word in done.out
    assert folder.name in done.out
    assert "running small on tensorflow" in done.err


def test_compare_leaves_a_run_folder_each_and_the_figures(compared: tuple[Path, Done]) -> None:
    folder, done = compared
    found = json.loads((folder / "compare.json").read_text())
    assert found["reference"] == "torch"
    reference, other = found["backends"]
    assert (reference["backend"], other["backend"]) == ("torch", "tensorflow")
    runs = [Run(folder / name, done) for name in ("torch", "tensorflow")]
    for run, row in zip(runs, found["backends"], strict=True):
        assert run.result["status"] == "complete"
        assert row["test_loss"] == run.result["test"]["loss"]
        assert row["train_loss"] == run.steps["finetune"]["train"]["loss"]
        assert row["chosen"] == "mlp"
        assert row["peak_memory_bytes"] > 2**20
    assert other["steps_compared"] == len(runs[0].rows(split="train"))
    assert other["first_loss_difference"] < 1e-12
    assert other["largest_loss_difference"] < 1e-9
    assert other["test_examples_apart"] == 0
    assert other["same_choices"] is True


def test_compare_passes_a_run_s_failure_on(tmp_path: Path) -> None:
    wild: dict[str, Any] = {"name": "sgd", "learning_rate": 1e6, "weight_decay": 1e3}
    tree = small(finetune__optimizer=wild, finetune__batch_size=2)
    (tmp_path / "spec.json").write_text(json.dumps(tree))
    names = "torch,huggingface"
    done = process("compare", "spec.json", "--backends", names, "--out", "out", cwd=tmp_path)
    assert done.code == 1
    assert "the run on torch ended with exit code 1" in done.err
    assert "the training loss became" in done.err
    assert "Traceback" not in done.err
    assert done.err.count("paribus: ") == 1
    assert Run(tmp_path / "out" / "torch", done).result["status"] == "failed"


def test_compare_keeps_the_exit_code_of_bad_data(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(small(data={"source": "npz", "path": "x.npz"})))
    done = process("compare", "spec.json", "--backends", "torch,huggingface", cwd=tmp_path)
    assert done.code == 2
    assert "x.npz" in done.err
