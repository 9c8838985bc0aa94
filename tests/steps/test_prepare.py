"""What judges the task is never trained on, and what cannot run is found before anything trains."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from command import Runner
from experiments import changed, small

from paribus.spec import load
from paribus.steps.examples import Examples, step_data

TASK = {"steps": ["pretrain", "finetune"], "data": {"classes": [5, 6, 7]}}


def _source_rows(examples: Examples, section: Any, rows: Any) -> set[int]:
    chosen = examples.dataset(section).source_rows
    assert chosen is not None
    return set(chosen[rows].tolist())


@pytest.mark.parametrize(
    "patch",
    [
        {"classes": [5, 6, 7, 8, 9]},
        {"classes": [7, 6]},
        {"classes": [5, 6, 7], "limit": 300},
        {"classes": [5, 6, 7], "split": {"seed": 3}},
        {"classes": [5, 6, 7], "image": {"size": [10, 10]}, "split": {"validation": 0.3}},
    ],
)
def test_pretraining_never_sees_a_row_that_judges_the_task(patch: dict[str, Any]) -> None:
    spec = load({**TASK, "pretrain": {"data": patch}})
    assert spec.pretrain.data is not None
    examples = Examples(spec)
    views = step_data(spec, "finetune"), step_data(spec, "pretrain")
    task, large = (examples.split(view) for view in views)
    judges = _source_rows(examples, views[0], np.concatenate((task.validation, task.test)))
    seen = np.concatenate((large.train, large.validation))
    assert not _source_rows(examples, views[1], seen) & judges
    assert examples.held_out(step_data(spec, "pretrain")) > 0


def test_pretraining_alone_keeps_all_of_its_rows() -> None:
    spec = load({**TASK, "steps": ["pretrain"], "pretrain": {"data": {"classes": [5, 6, 7, 8]}}})
    assert spec.pretrain.data is not None
    assert Examples(spec).held_out(step_data(spec, "pretrain")) == 0


def test_the_run_says_how_many_rows_were_held_out(run: Runner) -> None:
    data = {"classes": [0, 1, 2], "limit": 60}
    done = run(small(steps=["pretrain", "finetune"], pretrain={"epochs": 1, "data": data}))
    assert done.steps["pretrain"]["held_out_examples"] > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pretrain__data__image": {"size": [9, 9]}}, "hidden.0.weight"),
        ({"finetune__freeze": "layer9"}, "layer9"),
    ],
)
def test_a_body_that_will_not_fit_is_found_before_pretraining(
    run: Runner, change: dict[str, Any], words: str
) -> None:
    tree = small(
        steps=["pretrain", "finetune"], pretrain={"epochs": 1, "data": {"classes": [0, 1, 2, 3]}}
    )
    failed = run.attempt(changed(tree, **change))
    assert failed.done.code == 2
    assert words in failed.done.said
    assert not failed.folder.exists()


def test_a_later_step_is_checked_for_the_candidates_and_not_for_the_base(run: Runner) -> None:
    """``freeze`` names a stage that only the candidates have."""
    tree = small(
        steps=["select", "finetune"],
        finetune={"epochs": 1, "freeze": "block1"},
        select={
            "folds": 2,
            "candidates": [
                {"name": "a", "model": {"architecture": "cnn", "channels": [2, 2]}},
                {"name": "b", "model": {"architecture": "cnn", "channels": [2, 3]}},
            ],
        },
    )
    assert run(tree).result["status"] == "complete"


def test_a_repeat_writes_the_same_files(run: Runner) -> None:
    first, second = run(small(), out="one"), run(small(), out="two")
    for name in ("weights.safetensors", "metrics.jsonl", "spec.toml"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes(), name


def test_the_saved_spec_names_files_from_anywhere(run: Runner) -> None:
    x = np.arange(240, dtype=np.float64).reshape(60, 4) % 7
    np.savez(run.folder / "table.npz", x=x, y=np.arange(60) % 3)
    done = run(small(data={"source": "npz", "path": "table.npz"}))
    assert f'path = "{run.folder / "table.npz"}"' in (done.folder / "spec.toml").read_text()
    assert json.loads((done.folder / "result.json").read_text())["model"]["step"] == "finetune"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"finetune__shards": 3, "finetune__optimizer": "gradient_descent"}, "leave shards = 1"),
        ({"finetune__schedule": {"warmup_epochs": 99}}, "would never be reached"),
    ],
)
def test_values_without_effect_are_refused(run: Runner, change: dict[str, Any], words: str) -> None:
    failed = run.attempt(changed(small(), **change))
    assert failed.done.code == 2
    assert words in failed.done.said


def test_weights_that_cannot_be_written_end_the_run_in_words(run: Runner) -> None:
    """Something in the way of the file stands for a full disk: the system refuses to write."""
    (run.folder / "out" / "weights.safetensors.partial").mkdir(parents=True)
    failed = run.attempt(small())
    assert failed.done.code == 1
    assert "weights.safetensors cannot be written" in failed.done.said
    assert "internal error" not in failed.done.said
    assert failed.result["status"] == "failed"
