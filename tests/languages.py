"""Whole experiments on texts that several files of tests look at."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

from experiments import Tree

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
