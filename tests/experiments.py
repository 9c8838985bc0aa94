"""Small experiments and data for tests that run whole specs."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Tree = dict[str, Any]

# What a test does not speak of: three digits, 90 images, a network of a few hundred weights, and
# float64, in which backends agree and repeats are compared.
SMALL: Tree = {
    "name": "small",
    "backend": "torch",
    "device": "cpu",
    "precision": "float64",
    "data": {
        "classes": [0, 1, 2],
        "limit": 90,
        "split": {"validation": 0.2, "test": 0.2},
    },
    "model": {"architecture": "mlp", "hidden": [6]},
    "finetune": {"epochs": 2, "optimizer": {"name": "sgd", "learning_rate": 0.05}},
}

# The whole job, small: pretrain on three digits, choose, search and fine-tune on three others.
FOUR: Tree = {
    "name": "four",
    "seed": 3,
    "precision": "float64",
    "steps": ["pretrain", "select", "optimize", "finetune"],
    "data": {
        "classes": [5, 6, 7],
        "limit": 90,
        "split": {"validation": 0.2, "test": 0.2},
    },
    "model": {"architecture": "cnn", "channels": [3, 4]},
    "pretrain": {
        "epochs": 2,
        "data": {"classes": [0, 1, 2]},
        "optimizer": {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9},
    },
    "select": {
        "folds": 3,
        "epochs": 1,
        "rule": "one-standard-error",
        "candidates": [
            {"name": "free"},
            {"name": "frozen", "finetune": {"freeze": "block1"}},
            {"name": "mlp", "model": {"architecture": "mlp", "hidden": [8]}},
        ],
    },
    "optimize": {
        "trials": 3,
        "epochs": 2,
        "sampler": "tpe",
        "search": {
            "finetune.optimizer": [{"name": "sgd", "momentum": 0.9}, {"name": "adamw"}],
            "finetune.optimizer.learning_rate": {"low": 1e-3, "high": 1e-1, "log": True},
        },
    },
    "finetune": {"epochs": 3, "schedule": {"name": "cosine", "warmup_epochs": 1}},
}


def changed(tree: Tree, **changes: Any) -> Tree:
    """Return the tree with dotted keys set, ``__`` for a dot; None takes a key away."""
    result = deepcopy(tree)
    for key, value in changes.items():
        *path, leaf = key.split("__")
        table = result
        for part in path:
            table = table.setdefault(part, {})
        if value is None:
            del table[leaf]
        else:
            table[leaf] = value
    return result


def small(**changes: Any) -> Tree:
    """Return ``SMALL`` with changes."""
    return changed(SMALL, **changes)


def save_npz(path: Path, x: npt.NDArray[Any], y: Sequence[int], **more: Any) -> Path:
    """Write examples with labels."""
    np.savez(path, x=x, y=np.asarray(y, dtype=np.int64), **more)
    return path


def table(count: int, features: int = 3, classes: int = 3) -> tuple[npt.NDArray[Any], list[int]]:
    """Return examples [count, features] that can be told apart, and their labels in turns."""
    y = [index % classes for index in range(count)]
    noise = np.random.default_rng(0).normal(size=(count, features))
    return noise + 3.0 * np.eye(classes, features)[y], y
