"""Hyperparameter search: which trials there are, which are ended early, and which one is used."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from command import Runner
from experiments import Tree, changed, small

RATE = "finetune.optimizer.learning_rate"
RATES = {RATE: {"low": 1e-3, "high": 1e-1, "log": True}}


def optimize(**section: Any) -> Tree:
    """Return a spec that only searches."""
    return small(
        steps=["optimize"], optimize={"search": RATES, "epochs": 2, "trials": 4, **section}
    )


def test_a_grid_has_every_point_once(run: Runner) -> None:
    search = {
        "model.hidden": [[3], [4]],
        "finetune.batch_size": {"low": 10, "high": 20, "step": 5},
    }
    trials = run(optimize(sampler="grid", search=search, trials=100)).steps["optimize"]["trials"]
    points = [(t["params"]["model.hidden"], t["params"]["finetune.batch_size"]) for t in trials]
    assert points == list(itertools.product([[3], [4]], [10, 15, 20]))
    assert {trial["state"] for trial in trials} == {"complete"}


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ([0.1, 0.2, 0.3], "the grid has 3 points and trials = 2 would cut it off"),
        ({"low": 0.1, "high": 0.5}, "needs a step or a list"),
        ({"low": 0.1, "high": 0.5, "log": True}, "needs a list"),
        ({"low": 0.1, "high": 0.5, "step": 0.3}, "does not lead from low = 0.1 to high = 0.5"),
        ({"low": 1, "high": 2, "step": 0.5}, "step = 0.5 must be a whole number"),
    ],
)
def test_a_grid_that_is_not_whole_is_refused(run: Runner, space: object, words: str) -> None:
    failed = run.attempt(optimize(sampler="grid", search={RATE: space}, trials=2))
    assert failed.done.code == 2
    assert words in failed.done.said


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_trials_follow_from_the_seed(run: Runner, sampler: str) -> None:
    def rates(seed: int, out: str) -> list[float]:
        done = run(changed(optimize(sampler=sampler), seed=seed), out=out)
        return [trial["params"][RATE] for trial in done.steps["optimize"]["trials"]]

    first = rates(1, "first")
    assert len(set(first)) == 4
    assert all(1e-3 <= rate <= 1e-1 for rate in first)
    assert rates(1, "again") == first
    assert not set(rates(2, "other")) & set(first)


def test_the_best_trial_has_the_best_validation(run: Runner) -> None:
    done = run(optimize(sampler="random"))
    found = done.steps["optimize"]
    for trial in found["trials"]:
        rows = done.rows(trial=trial["number"], split="validation")
        assert trial["value"] == min(row["loss"] for row in rows)
    assert found["best"]["value"] == min(trial["value"] for trial in found["trials"])


def test_by_accuracy_more_is_better(run: Runner) -> None:
    found = run(optimize(sampler="random", metric="accuracy")).steps["optimize"]
    assert found["best"]["value"] == max(trial["value"] for trial in found["trials"])


@pytest.mark.parametrize("pruner", ["median", "successive-halving"])
def test_losers_are_ended_early(run: Runner, pruner: str) -> None:
    """Good learning rates first, so that those which learn nothing are seen to be worse."""
    rates = [0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 1e-9, 1e-10]
    options = {"sampler": "grid", "search": {RATE: rates}, "trials": 8, "epochs": 4}
    done = run(optimize(**options, pruner=pruner), out="pruned")
    trials = done.steps["optimize"]["trials"]
    assert [trial["state"] for trial in trials[-2:]] == ["pruned", "pruned"]
    assert trials[-1]["value"] is None
    assert len(done.rows(trial=7, split="validation")) < 4
    assert trials[0]["state"] == "complete"

    whole = run(optimize(**options), out="whole").steps["optimize"]
    assert {trial["state"] for trial in whole["trials"]} == {"complete"}
    assert whole["best"] == done.steps["optimize"]["best"] or pruner == "successive-halving"


def wild(rates: list[float]) -> Tree:
    """Return a search in which a learning rate of a million overflows, thanks to weight decay."""
    tree = optimize(sampler="grid", search={RATE: rates}, epochs=3)
    tree["finetune"] |= {"batch_size": 2, "optimizer": {"name": "sgd", "weight_decay": 1e3}}
    return tree


def test_a_trial_that_diverges_is_survived(run: Runner) -> None:
    first, second = (found := run(wild([1e6, 1e-5])).steps["optimize"])["trials"]
    assert (first["state"], first["value"]) == ("diverged", None)
    assert second["state"] == "complete"
    assert found["best"]["number"] == 1


def test_when_all_diverge_the_run_fails(run: Runner) -> None:
    failed = run.attempt(wild([1e6]))
    assert failed.done.code == 1
    assert "optimize: none of 1 trials came to an end" in failed.done.err
    assert failed.result["status"] == "failed"
    assert failed.result["error"]["message"] in failed.done.err


def test_trials_may_be_judged_on_folds(run: Runner) -> None:
    done = run(optimize(sampler="random", folds=3, trials=2))
    for trial in done.steps["optimize"]["trials"]:
        rows = done.rows(trial=trial["number"], split="validation")
        assert {row["fold"] for row in rows} == {0, 1, 2}
        # folds are of the development rows, 24 of 72 each, and never of the test rows
        assert {row["examples"] for row in rows} == {24}
        best = [min(r["loss"] for r in rows if r["fold"] == fold) for fold in range(3)]
        assert trial["value"] == pytest.approx(sum(best) / 3)


def test_the_search_may_be_over_pretraining(run: Runner) -> None:
    search = {"pretrain.optimizer.learning_rate": [0.01, 0.1]}
    section = {"step": "pretrain", "sampler": "grid", "search": search, "epochs": 1}
    tree = small(steps=["optimize", "pretrain"], optimize=section, pretrain={"epochs": 2})
    done = run(tree)
    best = done.steps["optimize"]["best"]["params"]["pretrain.optimizer.learning_rate"]
    rates = {row["learning_rate"] for row in done.rows(step="pretrain", split="train")}
    assert rates == {best}
