"""What ``paribus run`` leaves in the run folder."""

from __future__ import annotations

import json
import tomllib
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from command import Run, Runner
from experiments import FOUR, small

from paribus.architectures import build


@pytest.fixture
def torch(four: dict[str, Run]) -> Run:
    return four["torch"]


def test_the_files(torch: Run) -> None:
    assert torch.done.code == 0, torch.done.err
    assert {path.name for path in torch.folder.iterdir()} == {
        "spec.toml",
        "metrics.jsonl",
        "result.json",
        "weights.safetensors",
        "pretrain.safetensors",
    }


def test_the_result_says_what_ran_and_where(torch: Run) -> None:
    result = torch.result
    expected = {
        "name": "four",
        "status": "complete",
        "backend": "torch",
        "device": "cpu",
        "precision": "float64",
        "numerics": "strict",
        "seed": 3,
    }
    assert {key: result[key] for key in expected} == expected
    assert {"python", "paribus", "numpy", "torch", "torchvision"} <= set(result["versions"])
    assert list(result["steps"]) == ["pretrain", "select", "optimize", "finetune"]
    assert set(result["test"]) == {"loss", "accuracy", "examples"}
    assert result["test"]["examples"] == 18
    assert result["seconds"] > 0
    assert result["peak_memory_bytes"] > 2**20


def test_the_result_of_a_training(torch: Run) -> None:
    for step, epochs in (("pretrain", 2), ("finetune", 3)):
        found = torch.steps[step]
        assert found["epochs"] == epochs
        assert found["optimizer_steps"] == 2 * epochs
        assert found["train"]["loss"] > 0
        assert set(found["validation"]) == {"loss", "accuracy", "examples"}
        assert found["validation"]["examples"] == 18
        assert found["seconds"] > 0
        assert found["images_per_second"] > 0


def test_the_result_of_a_selection(torch: Run) -> None:
    select = torch.steps["select"]
    candidates = select["candidates"]
    assert [c["name"] for c in candidates] == ["free", "frozen", "mlp"]
    assert select["chosen"] in ("free", "frozen", "mlp")
    for candidate in candidates:
        losses = [fold["loss"] for fold in candidate["folds"]]
        assert len(losses) == 3
        assert candidate["mean"] == pytest.approx(np.mean(losses))
        assert candidate["standard_error"] == pytest.approx(np.std(losses, ddof=1) / 3**0.5)
        assert candidate["seconds"] > 0
    assert candidates[0]["parameters"] == candidates[1]["parameters"]
    assert candidates[2]["parameters"] == 64 * 8 + 8 + 8 * 3 + 3


def test_the_result_of_a_search(torch: Run) -> None:
    optimize = torch.steps["optimize"]
    trials = optimize["trials"]
    assert [trial["number"] for trial in trials] == [0, 1, 2]
    for trial in trials:
        assert set(trial["params"]) == set(FOUR["optimize"]["search"])
        assert trial["state"] == "complete"
        assert trial["seconds"] > 0
    best = min(trials, key=lambda trial: trial["value"])
    assert optimize["best"] == {key: best[key] for key in ("number", "params", "value")}


def test_a_row_for_every_optimizer_step(torch: Run) -> None:
    for step in ("pretrain", "finetune"):
        # a candidate's own pretraining is told apart by its model
        rows = torch.rows(step=step, split="train", model=None)
        assert len(rows) == torch.steps[step]["optimizer_steps"]
        assert [row["optimizer_step"] for row in rows] == list(range(1, len(rows) + 1))
        assert all({"loss", "learning_rate", "epoch"} <= set(row) for row in rows)
        # one evaluation after each epoch
        evaluations = torch.rows(step=step, split="validation", model=None)
        assert len(evaluations) == torch.steps[step]["epochs"]
    for candidate in ("free", "frozen", "mlp"):
        for fold in range(3):
            assert len(torch.losses(step="select", candidate=candidate, fold=fold)) == 2


def test_the_schedule_is_what_the_rows_say(torch: Run) -> None:
    """A warm-up over the first of three epochs, then half a cosine, from the best trial's rate."""
    best = torch.steps["optimize"]["best"]["params"]["finetune.optimizer.learning_rate"]
    rates = [row["learning_rate"] for row in torch.rows(step="finetune", split="train")]
    assert rates[1] == pytest.approx(best)
    assert rates[0] < rates[1]
    assert all(later < earlier for earlier, later in pairwise(rates[2:]))


def test_the_best_trial_is_what_finetune_uses(torch: Run) -> None:
    """The choices are in ``result.json``; ``spec.toml`` is still the experiment that makes them."""
    spec = tomllib.loads((torch.folder / "spec.toml").read_text())
    assert spec["steps"] == FOUR["steps"]
    assert spec["backend"] == "torch"
    assert spec["device"] == "cpu"
    assert spec["finetune"]["optimizer"]["name"] == "sgd"
    assert len(spec["select"]["candidates"]) == 3


def test_weights_have_canonical_names(torch: Run) -> None:
    pretrained = build("cnn", {"channels": [3, 4]}, (1, 8, 8), 3).tensors
    assert set(torch.tensors("pretrain")) == set(pretrained)
    model = torch.result["model"]
    network = build(model["architecture"], model["parameters"], (1, 8, 8), 3)
    tensors = torch.tensors()
    assert {name: tensor.shape for name, tensor in network.tensors.items()} == {
        name: array.shape for name, array in tensors.items()
    }
    assert {array.dtype for array in tensors.values()} == {np.dtype(np.float64)}


def test_the_result_is_plain_json(torch: Run) -> None:
    """No NaN, which is not JSON, even where a number may be missing."""

    def refuse(text: str) -> Any:
        raise AssertionError(text)

    texts = (torch.folder / "metrics.jsonl").read_text().splitlines()
    for text in (*texts, (torch.folder / "result.json").read_text()):
        json.loads(text, parse_constant=refuse)


def test_the_table_shows_every_step(torch: Run) -> None:
    """Standard output is no terminal here, and no word of the table is cut off for that."""
    said = torch.done.said
    for word in (
        "pretrain",
        "select",
        "optimize",
        "finetune",
        "accuracy",
        "← chosen",
        "examples │ 18",
    ):
        assert word in said
    assert "…" not in said
    assert str(torch.folder) in torch.done.out


def test_quiet_says_nothing(run: Runner) -> None:
    done = run(small(), "--quiet").done
    assert (done.out, done.err) == ("", "")
