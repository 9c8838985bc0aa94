"""Model selection: every candidate on the same folds, and losers that fail do not end a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from command import Runner
from experiments import Tree, changed, save_npz, small, table

import paribus
from paribus import data, weights

MLP = {"name": "mlp"}
TWO = [MLP, {"name": "wide", "model": {"hidden": [9]}}]


def select(candidates: list[Any] = TWO, **more: Any) -> Tree:
    """Return a spec that only selects."""
    section = {"folds": 3, "epochs": 1, "candidates": candidates, **more}
    return small(steps=["select"], select=section)


def hashes(candidate: Tree) -> list[str]:
    return [fold["rows"] for fold in candidate["folds"]]


def expected(tree: Tree) -> list[data.Fold]:
    """Return the folds that core deals out for a spec."""
    spec = paribus.load(tree)
    assert spec.select is not None
    section = spec.select
    dataset = data.load(spec.data, spec.seed)
    split = data.split(dataset, spec.data.split, spec.seed)
    rows = np.sort(np.concatenate((split.train, split.validation)))
    return data.folds(
        dataset, rows, section.scheme, section.folds, section.repeats, spec.seed, section.validation
    )


@pytest.mark.parametrize(
    "options",
    [
        {"scheme": "stratified"},
        {"scheme": "kfold", "folds": 4},
        {"scheme": "stratified", "repeats": 2},
        {"scheme": "holdout", "repeats": 3, "validation": 0.3},
        {"scheme": "holdout"},
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_all_candidates_see_the_same_folds(run: Runner, options: Tree) -> None:
    tree = select(**options)
    folds = expected(tree)
    found = [weights.fingerprint({"train": f.train, "validation": f.validation}) for f in folds]
    assert len(set(found)) == len(found)
    done = run(tree)
    for candidate in done.steps["select"]["candidates"]:
        assert hashes(candidate) == found
        for fold, row in zip(folds, candidate["folds"], strict=True):
            assert (row["repeat"], row["fold"]) == (fold.repeat, fold.fold)
            assert row["validation_examples"] == len(fold.validation)
            assert row["train_examples"] + row["validation_examples"] == 72
        assert (candidate["standard_error"] is None) == (len(folds) == 1)


def test_groups_are_not_cut(run: Runner) -> None:
    x, y = table(60)
    groups = np.arange(60) // 6
    path = save_npz(run.folder / "grouped.npz", x, y, who=groups)
    tree = changed(select(scheme="grouped"), data={"source": "npz", "path": str(path)})
    tree = changed(tree, data__groups="who")
    folds = expected(tree)
    for fold in folds:
        assert not set(groups[fold.train]) & set(groups[fold.validation])
    found = [weights.fingerprint({"train": f.train, "validation": f.validation}) for f in folds]
    for candidate in run(tree).steps["select"]["candidates"]:
        assert hashes(candidate) == found


def test_the_loss_of_a_fold_is_its_last_evaluation(run: Runner) -> None:
    done = run(changed(select(), finetune__keep="last"))
    for candidate in done.steps["select"]["candidates"]:
        for fold in candidate["folds"]:
            labels = {"candidate": candidate["name"], "fold": fold["fold"]}
            (row,) = done.rows(split="validation", **labels)
            assert (row["loss"], row["accuracy"]) == (fold["loss"], fold["accuracy"])
            assert row["examples"] == fold["validation_examples"]


def test_the_chosen_model_is_what_follows(run: Runner) -> None:
    tree = changed(select(metric="accuracy"), steps=["select", "finetune"])
    done = run(tree)
    hidden = {"mlp": [6], "wide": [9]}[done.steps["select"]["chosen"]]
    assert done.result["model"]["parameters"]["hidden"] == hidden
    means = {c["name"]: c["mean"] for c in done.steps["select"]["candidates"]}
    assert means[done.steps["select"]["chosen"]] == max(means.values())


def test_candidates_may_differ_in_how_data_is_transformed(run: Runner) -> None:
    scaled = {"name": "scaled", "data": {"transform": {"normalize": "train"}}}
    shifted = {"name": "augmented", "data": {"transform": {"pad": 1}}}
    first, *others = run(select([MLP, scaled, shifted])).steps["select"]["candidates"]
    for other in others:
        assert hashes(other) == hashes(first)
        assert other["mean"] != first["mean"]


def test_equal_candidates_get_equal_numbers(run: Runner) -> None:
    first, second = run(select([MLP, {"name": "twin"}])).steps["select"]["candidates"]
    for left, right in zip(first["folds"], second["folds"], strict=True):
        assert (left["loss"], left["accuracy"]) == (right["loss"], right["accuracy"])


def wild(name: str) -> Tree:
    """Return a candidate whose weights grow by a factor of a thousand million a step."""
    optimizer = {"learning_rate": 1e6, "weight_decay": 1e3}
    return {"name": name, "finetune": {"batch_size": 2, "optimizer": optimizer}}


def test_a_candidate_that_diverges_loses(run: Runner) -> None:
    done = run(select([wild("wild"), MLP], epochs=3))
    diverged, sound = done.steps["select"]["candidates"]
    assert diverged["mean"] is None
    assert diverged["standard_error"] is None
    assert any(fold.get("diverged") for fold in diverged["folds"])
    assert sound["mean"] is not None
    assert done.steps["select"]["chosen"] == "mlp"
    assert "diverged" in done.done.out


def test_when_all_diverge_the_run_fails(run: Runner) -> None:
    failed = run.attempt(select([wild("wild")], epochs=3))
    assert failed.done.code == 1
    assert "select: the loss of every candidate" in failed.done.err
    assert failed.result["status"] == "failed"


def test_a_candidate_that_cannot_be_built_is_found_before_any_training(run: Runner) -> None:
    deep = {"name": "deep", "model": {"architecture": "cnn", "channels": [2, 2, 2, 2]}}
    failed = run.attempt(select([MLP, deep]))
    assert failed.done.code == 2
    assert "too small" in failed.done.err
    assert not failed.folder.exists()


def test_a_candidate_of_another_architecture_is_pretrained_by_the_same_recipe(run: Runner) -> None:
    tree = changed(select(), steps=["pretrain", "select"], pretrain={"epochs": 2})
    done = run(tree)
    own = done.rows(step="pretrain", split="train", model=None)
    wide = [row for row in done.rows(step="pretrain", split="train") if "model" in row]
    assert len(own) == len(wide) > 0


def test_every_training_has_rows_of_its_own(run: Runner) -> None:
    """Programs find a loss by the other keys of its row, so no two rows may share them."""
    narrow = {"name": "narrow", "model": {"hidden": [4]}}
    search = {"finetune.optimizer.learning_rate": [0.01, 0.1]}
    tree = changed(
        select([*TWO, narrow]),
        steps=["pretrain", "select", "optimize", "finetune"],
        optimize={"sampler": "grid", "folds": 2, "epochs": 1, "search": search},
    )
    keys = [
        tuple((key, value) for key, value in row.items() if key not in ("loss", "learning_rate"))
        for row in run(tree).rows(split="train")
    ]
    assert len(set(keys)) == len(keys)
