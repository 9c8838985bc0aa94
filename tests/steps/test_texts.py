"""Whole experiments on texts: languages, classes and numbers, the same on every backend."""

from __future__ import annotations

import csv
import json
import random
from math import exp
from pathlib import Path
from typing import Any

import pytest
from command import Run, Runner, Worker
from experiments import Tree
from labs import PROMISED

from paribus.data import labels, split
from paribus.spec import load

FIRST, *OTHERS = PROMISED
WORDS = {
    "pets": [
        "cat",
        "dog",
        "paw",
        "tail",
        "purr",
        "bark",
        "kitten",
        "puppy",
        "fur",
        "whisker",
        "leash",
        "bone",
    ],
    "boats": [
        "sail",
        "mast",
        "keel",
        "wave",
        "harbour",
        "anchor",
        "rope",
        "deck",
        "rudder",
        "tide",
        "oar",
        "captain",
    ],
    "bread": [
        "dough",
        "flour",
        "yeast",
        "oven",
        "crust",
        "knead",
        "loaf",
        "rye",
        "crumb",
        "baker",
        "salt",
        "rise",
    ],
}
COMMON = [
    "the",
    "a",
    "of",
    "and",
    "is",
    "with",
    "on",
    "in",
    "to",
    "for",
    "its",
    "very",
    "small",
    "old",
    "good",
]


def write(folder: Path) -> None:
    """Write table.csv: 90 texts of three kinds, and how many words of the kind are in each."""
    draw = random.Random(5)
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "title", "kind", "share"])
        for number in range(90):
            kind = list(WORDS)[number % 3]
            words = [
                draw.choice(WORDS[kind] if draw.random() < 0.5 else COMMON)
                for _ in range(draw.randrange(4, 40))
            ]
            share = sum(word in WORDS[kind] for word in words) / len(words)
            table.writerow([" ".join(words), words[0], kind, f"{share:.3f}"])


BASE: Tree = {
    "seed": 2,
    "device": "cpu",
    "precision": "float64",
    "data": {
        "source": "csv",
        "path": "table.csv",
        "label": "kind",
        "text": {"length": 32},
        "tokenizer": {"vocabulary": 400},
        "split": {"validation": 0.2, "test": 0.2},
    },
    "model": {"architecture": "bert", "positions": 32, "layers": 2, "heads": 2, "hidden": 16,
              "intermediate": 24},
    "finetune": {"epochs": 3, "batch_size": 8, "optimizer": {"name": "adamw",
                                                             "learning_rate": 0.003}},
}  # fmt: skip
GPT2 = {"architecture": "gpt2", "positions": 32, "layers": 2, "heads": 2, "hidden": 16,
        "intermediate": 24}  # fmt: skip


def experiment(**changes: Any) -> Tree:
    """Return the base experiment with sections merged over it."""
    tree: Tree = json.loads(json.dumps(BASE))
    for key, value in changes.items():
        same = isinstance(value, dict) and key in tree
        tree[key] = {**tree[key], **value} if same and key != "model" else value
    return tree


EXPERIMENTS = {
    "masked": experiment(
        steps=["pretrain", "finetune"],
        pretrain={"objective": "masked_lm", "epochs": 12, "batch_size": 8, "clip_norm": 1.0,
                  "optimizer": {"name": "adamw", "learning_rate": 0.01}},
        finetune={**BASE["finetune"], "metrics": ["macro_f1", "roc_auc", "top_2_accuracy"]},
    ),
    "causal": experiment(
        steps=["pretrain"], model=GPT2,
        data={**BASE["data"], "tokenizer": {"kind": "bpe", "vocabulary": 400}},
        pretrain={"objective": "causal_lm", "epochs": 8, "batch_size": 8,
                  "optimizer": {"name": "adamw", "learning_rate": 0.01}},
    ),
    "numbers": experiment(
        model={**BASE["model"], "pooling": "mean"},
        data={**BASE["data"], "label": "share"},
        finetune={**BASE["finetune"], "objective": "regression",
                  "metrics": ["mean_absolute_error", "r2"]},
    ),
    "pairs": experiment(
        data={**BASE["data"], "text": {"columns": ["title", "text"], "length": 32}},
        finetune={**BASE["finetune"], "label_smoothing": 0.1, "class_weights": [1.0, 2.0, 0.5],
                  "group_by_length": True, "shards": 2},
    ),
    "last": experiment(model=GPT2, finetune={**BASE["finetune"], "class_weights": "balanced"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Run]]:
    """Every experiment on every backend."""
    folder = tmp_path_factory.mktemp("texts")
    write(folder)
    found: dict[str, dict[str, Run]] = {}
    for backend in PROMISED:
        worker = Worker()
        try:
            runner = Runner(folder, worker)
            found[backend] = {
                name: runner(tree, "--backend", backend, out=f"{backend}-{name}")
                for name, tree in EXPERIMENTS.items()
            }
        finally:
            worker.close()
    return found


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("backend", OTHERS)
def test_the_same_loss_at_every_step(
    runs: dict[str, dict[str, Run]], backend: str, name: str
) -> None:
    ours, theirs = runs[FIRST][name].rows(), runs[backend][name].rows()
    assert len(ours) == len(theirs) > 12
    for left, right in zip(ours, theirs, strict=True):
        assert right["loss"] == pytest.approx(left["loss"], rel=1e-9)
        assert right.get("learning_rate") == left.get("learning_rate")
    first, second = runs[FIRST][name].result["test"], runs[backend][name].result["test"]
    assert first.keys() == second.keys()
    assert second == pytest.approx(first, rel=1e-8)


def test_a_language_is_learned(runs: dict[str, dict[str, Run]]) -> None:
    for name in ("masked", "causal"):
        losses = runs[FIRST][name].losses(step="pretrain")
        assert sum(losses[-5:]) < 0.85 * sum(losses[:5])
    test = runs[FIRST]["causal"].result["test"]
    assert test["perplexity"] == pytest.approx(exp(test["loss"]))


def test_the_body_s_tokenizer_is_the_task_s(runs: dict[str, dict[str, Run]]) -> None:
    run = runs[FIRST]["masked"]
    tensors, body = run.tensors(), run.tensors("pretrain")
    tokenizer = json.loads((run.folder / "tokenizer.json").read_text())
    known = len(tokenizer["model"]["vocab"])
    assert tensors["embeddings.word_embeddings.weight"].shape == (known, 16)
    assert body["embeddings.word_embeddings.weight"].shape == (known, 16)
    said = run.steps["finetune"]["initial_weights"]
    assert said == "the pretrained weights, a new head, and a new pooler, since it has none"


def test_what_judges_the_task_is_not_read_in_pretraining(runs: dict[str, dict[str, Run]]) -> None:
    run = runs[FIRST]["masked"]
    spec = load(run.folder / "spec.toml")
    parts = split(labels(spec.data, spec.seed), spec.data.split, spec.seed)
    judged = len(parts.validation) + len(parts.test)
    assert run.steps["pretrain"]["held_out_examples"] == judged == 36


def test_metrics_are_reported_where_they_are_asked_for(runs: dict[str, dict[str, Run]]) -> None:
    test = runs[FIRST]["masked"].result["test"]
    assert list(test) == ["loss", "accuracy", "macro_f1", "roc_auc", "top_2_accuracy", "examples"]
    assert test["accuracy"] <= test["top_2_accuracy"] <= 1
    numbers = runs[FIRST]["numbers"].result["test"]
    assert list(numbers) == ["loss", "mean_absolute_error", "r2", "examples"]
    (row, *_) = runs[FIRST]["masked"].rows(step="finetune", split="validation")
    assert {"macro_f1", "roc_auc"} <= row.keys()


def test_a_repeat_is_the_same_to_the_bit(runs: dict[str, dict[str, Run]], run: Runner) -> None:
    write(run.folder)
    again = run(EXPERIMENTS["masked"], "--backend", FIRST)
    assert again.result["weights_hash"] == runs[FIRST]["masked"].result["weights_hash"]


def test_a_run_goes_on_from_another_s_language_and_tokenizer(
    runs: dict[str, dict[str, Run]], run: Runner
) -> None:
    write(run.folder)
    first = runs[FIRST]["masked"].folder
    tree = experiment(checkpoint=str(first), model={"pooling": "mean"})
    del tree["data"]["tokenizer"]
    found = run(tree, "--backend", FIRST)
    assert found.steps["finetune"]["initial_weights"] == f"the weights in {first}, a new head"
    assert (found.folder / "tokenizer.json").read_text() == (first / "tokenizer.json").read_text()


def test_weights_of_another_tokenizer_are_refused(
    runs: dict[str, dict[str, Run]], run: Runner
) -> None:
    write(run.folder)
    tree = experiment(finetune={"weights": str(runs[FIRST]["masked"].folder)})
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
