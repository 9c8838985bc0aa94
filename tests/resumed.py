"""What tests of stopping and going on share: legs of a run, and when two runs are the same."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from command import Run, Runner
from experiments import FOUR, Tree, changed, small

from paribus.runstate.store import MANIFEST

# Where and how long: what may differ between a run of one leg and one of several.
APART = {
    "seconds", "train_seconds", "compile_seconds", "images_per_second", "peak_memory_bytes",
    "legs", "backend", "device", "versions",
}  # fmt: skip

# 12 optimizer steps on images that are flipped, three an epoch, the last one smaller.
TWELVE = small(
    precision="float32",
    model={"architecture": "cnn", "channels": [3, 4]},
    data__transform={"horizontal_flip": True, "pad": 1, "crop": 8},
    finetune={
        "epochs": 4,
        "batch_size": 20,
        "optimizer": {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 1e-3},
        "schedule": {"name": "cosine", "warmup_epochs": 1.5},
        "keep": "best",
    },
)

# All four steps, each long enough to be stopped in: pretraining that stops early, a search whose
# pruner cuts trials, fine-tuning by AdamW with warm-up and clipping. 62 optimizer steps.
ALL = changed(
    FOUR,
    device="cpu",
    pretrain__epochs=6,
    pretrain__early_stopping={"patience": 1, "min_delta": 0.2},
    optimize__trials=6,
    optimize__epochs=3,
    optimize__pruner="successive-halving",
    optimize__search={"finetune.optimizer.learning_rate": {"low": 1e-5, "high": 0.3, "log": True}},
    finetune__epochs=4,
    finetune__clip_norm=1.0,
)


def legs(run: Runner, tree: Tree, stops: list[tuple[str, int]], last: str, out: str) -> Run:
    """Run a spec in legs: each (backend, optimizer steps) of ``stops``, then on ``last``."""
    folder = run.folder / out
    for number, (backend, steps) in enumerate([*stops, (last, 0)]):
        options = ["--backend", backend]
        options += ["--stop-after", str(steps)] if steps else []
        options += ["--resume", str(folder)] if number else ["--out", str(folder)]
        spec = run.write(tree, f"{out}.json")
        done = run.worker("run", spec, *options, cwd=run.folder)
        assert done.code == 0, done.err
    return Run(folder, done)


def without(tree: Any, keys: set[str]) -> Any:
    """Return JSON values without these keys, at any depth."""
    if isinstance(tree, dict):
        return {key: without(value, keys) for key, value in tree.items() if key not in keys}
    return [without(value, keys) for value in tree] if isinstance(tree, list) else tree


def same(one: Run, other: Run) -> None:
    """Assert that two runs left the same: every bit of every row, result and weight.

    Where trainings were made together, whose rows come first in an epoch depends on where it was
    stopped; within a training the order is one.
    """
    assert by_training(one) == by_training(other)
    assert without(one.result, APART) == without(other.result, APART)
    for name in ("weights.safetensors", "pretrain.safetensors"):
        files = [run.folder / name for run in (one, other) if (run.folder / name).exists()]
        assert len({file.read_bytes() for file in files}) <= 1
    assert files_of(one.folder) == files_of(other.folder)


def by_training(run: Run) -> list[Tree]:
    """Return the rows of ``metrics.jsonl``, those of one training behind each other."""
    labels = ("step", "model", "variant", "candidate", "trial", "repeat", "fold")
    return sorted(run.rows(), key=lambda row: str([row.get(label) for label in labels]))


def files_of(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def apart(one: Run, other: Run) -> float:
    """Return the largest difference of final weights, of the largest weight of the same tensor.

    The biases of attention's keys are left out: they add the same to all scores of a query, which
    changes no softmax, so what they learn is nothing but rounding.
    """
    ours, theirs = one.tensors(), other.tensors()
    assert set(ours) == set(theirs)
    return max(
        float(np.abs(ours[name] - theirs[name]).max() / np.abs(theirs[name]).max())
        for name in theirs
        if not name.endswith("attention.self.key.bias")
    )


def forged(checkpoint: Path, **files: bytes) -> None:
    """Write other files into a checkpoint (``state_json`` is state.json), and make hashes fit."""
    for name, content in files.items():
        (checkpoint / name.replace("_", ".")).write_bytes(content)
    listed = {
        path.name: {"sha256": sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size}
        for path in checkpoint.iterdir()
        if path.name != MANIFEST
    }
    text = json.dumps({"files": listed, "format": 1}, sort_keys=True, separators=(",", ":"))
    (checkpoint / MANIFEST).write_text(text + "\n")
