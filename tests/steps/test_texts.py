"""Whole experiments on texts: languages, classes and numbers, the same on every backend."""

from __future__ import annotations

import json
from math import exp

import pytest
from command import Run, Runner
from experiments import Tree
from labs import PROMISED
from languages import BASE, EXPERIMENTS, experiment, write

from paribus.data import labels, split
from paribus.spec import load

FIRST, *OTHERS = PROMISED
Runs = dict[str, dict[str, Run]]


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("backend", OTHERS)
def test_the_same_loss_at_every_step(languages: Runs, backend: str, name: str) -> None:
    ours, theirs = languages[FIRST][name].rows(), languages[backend][name].rows()
    assert len(ours) == len(theirs) > 12
    for left, right in zip(ours, theirs, strict=True):
        assert right["loss"] == pytest.approx(left["loss"], rel=1e-9)
        assert right.get("learning_rate") == left.get("learning_rate")
    first, second = languages[FIRST][name].result["test"], languages[backend][name].result["test"]
    assert first.keys() == second.keys()
    assert second == pytest.approx(first, rel=1e-8)


def test_a_language_is_learned(languages: Runs) -> None:
    for name in ("masked", "causal"):
        losses = languages[FIRST][name].losses(step="pretrain")
        assert sum(losses[-5:]) < 0.85 * sum(losses[:5])
    test = languages[FIRST]["causal"].result["test"]
    assert test["perplexity"] == pytest.approx(exp(test["loss"]))


def test_the_body_s_tokenizer_is_the_task_s(languages: Runs) -> None:
    run = languages[FIRST]["masked"]
    tensors, body = run.tensors(), run.tensors("pretrain")
    tokenizer = json.loads((run.folder / "tokenizer.json").read_text())
    known = len(tokenizer["model"]["vocab"])
    assert tensors["embeddings.word_embeddings.weight"].shape == (known, 16)
    assert body["embeddings.word_embeddings.weight"].shape == (known, 16)
    said = run.steps["finetune"]["initial_weights"]
    assert said == "the pretrained weights, a new head, and a new pooler, since it has none"


def test_what_judges_the_task_is_not_read_in_pretraining(languages: Runs) -> None:
    run = languages[FIRST]["masked"]
    spec = load(run.folder / "spec.toml")
    parts = split(labels(spec.data, spec.seed), spec.data.split, spec.seed)
    judged = len(parts.validation) + len(parts.test)
    assert run.steps["pretrain"]["held_out_examples"] == judged == 36


def test_metrics_are_reported_where_they_are_asked_for(languages: Runs) -> None:
    test = languages[FIRST]["masked"].result["test"]
    assert list(test) == ["loss", "accuracy", "macro_f1", "roc_auc", "top_2_accuracy", "examples"]
    assert test["accuracy"] <= test["top_2_accuracy"] <= 1
    numbers = languages[FIRST]["numbers"].result["test"]
    assert list(numbers) == ["loss", "mean_absolute_error", "r2", "examples"]
    (row, *_) = languages[FIRST]["masked"].rows(step="finetune", split="validation")
    assert {"macro_f1", "roc_auc"} <= row.keys()


def test_a_repeat_is_the_same_to_the_bit(languages: Runs, run: Runner) -> None:
    write(run.folder)
    again = run(EXPERIMENTS["masked"], "--backend", FIRST)
    assert again.result["weights_hash"] == languages[FIRST]["masked"].result["weights_hash"]


@pytest.mark.parametrize("name", ["masked", "causal", "pairs"])
def test_texts_that_are_streamed_leave_the_same_weights(
    languages: Runs, run: Runner, name: str
) -> None:
    write(run.folder)
    tree = EXPERIMENTS[name]
    streamed = run({**tree, "data": {**tree["data"], "memory": "stream"}}, "--backend", FIRST)
    assert streamed.result["data"]["streamed"]
    assert not languages[FIRST][name].result["data"]["streamed"]
    assert streamed.result["weights_hash"] == languages[FIRST][name].result["weights_hash"]
    assert streamed.result["test"] == languages[FIRST][name].result["test"]


def test_a_run_goes_on_from_another_s_language_and_tokenizer(languages: Runs, run: Runner) -> None:
    write(run.folder)
    first = languages[FIRST]["masked"].folder
    tree = experiment(checkpoint=str(first), model={"pooling": "mean"})
    del tree["data"]["tokenizer"]
    found = run(tree, "--backend", FIRST)
    assert found.steps["finetune"]["initial_weights"] == f"the weights in {first}, a new head"
    assert (found.folder / "tokenizer.json").read_text() == (first / "tokenizer.json").read_text()


def test_weights_of_another_tokenizer_are_refused(languages: Runs, run: Runner) -> None:
    write(run.folder)
    tree = experiment(finetune={"weights": str(languages[FIRST]["masked"].folder)})
    failed = run.attempt(tree, "--backend", FIRST)
    assert failed.done.code == 2
    assert "data.tokenizer.path" in failed.done.said
    assert not failed.folder.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": {"architecture": "cnn"}}, "reads images or tables, but the data is texts"),
        ({"data": {**BASE["data"], "text": {"length": 64}}}, "model.positions"),
        ({"model": {**BASE["model"], "vocabulary": 60}}, "data.tokenizer.path"),
        ({"finetune": {"objective": "causal_lm"}}, "allowed: classification, regression, masked"),
        ({"finetune": {"monitor": "r2", "keep": "best"}}, "applies to regression"),
        ({"finetune": {"class_weights": [1.0, 2.0]}}, "2 weights, but the data has 3 classes"),
        ({"finetune": {"label_smoothing": 0.1, "objective": "regression"}}, "label_smoothing"),
        ({"data": {"source": "digits"}}, "reads texts, but the data has none"),
        ({"data": {"source": "digits"}, "finetune": {"objective": "masked_lm"}}, "needs texts"),
    ],
)
def test_what_does_not_fit_is_found_before_anything_runs(
    run: Runner, change: Tree, words: str
) -> None:
    write(run.folder)
    tree = experiment() | change
    failed = run.attempt(tree, "--backend", FIRST)
    assert failed.done.code == 2, failed.done.said
    assert words in failed.done.said
    assert "Traceback" not in failed.done.said
    assert not failed.folder.exists()
