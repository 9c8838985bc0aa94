"""Streamed or in memory, a run is the same run, to the bit, on every backend."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Runner, python, refused
from experiments import Tree, changed, save_npz, small, table
from labs import PROMISED
from PIL import Image

from paribus import feeding
from paribus.data import memory
from paribus.errors import SpecError
from paribus.spec.sections import Spec
from paribus.steps.examples import Examples
from paribus.steps.prepare import prepare

# Runs each spec in memory and streamed, with pieces of a few images, and says what came of it.
PROGRAM = """
import json, sys
import numpy as np
import paribus
from paribus import data, feeding

feeding.CHUNK_BYTES = 20_000
found = {}
for backend in sys.argv[2:]:
    for name, tree in json.load(open(sys.argv[1])).items():
        if name == "steps" and backend != "torch":
            continue  # the steps are core's
        for memory in ("load", "stream"):
            with open("spec.json", "w") as file:
                json.dump(tree, file)
            spec = paribus.load("spec.json", [f"data.memory={memory}"])
            with paribus.run(spec, backend=backend, out=f"{backend}-{name}-{memory}") as result:
                examples = data.load(spec.data, spec.seed).x
                outputs = result.logits(examples)
                metrics = result.metrics
                found[f"{backend} {name} {memory}"] = {
                    "streamed": metrics["data"]["streamed"],
                    "rows": [row for row in result.history],
                    "test": metrics["test"],
                    "weights": metrics["weights_hash"],
                    "train": metrics["steps"]["finetune"]["train"],
                    "outputs": outputs.tolist(),
                    "steps": {
                        step: [each.get("value", each.get("mean")) for each in
                               said.get("trials", said.get("candidates", []))]
                        for step, said in metrics["steps"].items()
                    },
                }
print(json.dumps(found))
"""

# 96 examples of 12×10×3, of which 63 train: in three batches of 20, in shards of 7, 7 and 6, and a
# last one of 3.
IMAGES: Tree = {
    "name": "images",
    "device": "cpu",
    "precision": "float32",
    "data": {
        "transform": {"normalize": "train", "crop": 8, "pad": 1, "horizontal_flip": True},
        "split": {"validation": 0.15, "test": 0.2},
    },
    "model": {"architecture": "cnn", "channels": [3, 4]},
    "finetune": {
        "epochs": 2,
        "batch_size": 20,
        "shards": 3,
        "optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9},
    },
}


def trees(folder: Path) -> dict[str, Tree]:
    """Write the data and return the specs on it."""
    noise = np.random.default_rng(0).integers(0, 200, (96, 12, 10, 3), dtype=np.uint8)
    y = np.arange(96) % 3
    noise[np.arange(96), :, :, y] += 55
    np.savez(folder / "images.npz", x=noise, y=y)
    for row, pixels in enumerate(noise[:60]):
        path = folder / "images" / "abc"[y[row]] / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    save_npz(folder / "table.npz", *table(60, features=500))
    files = {"data__source": "image_folder", "data__path": str(folder / "images")}
    return {
        "npz": changed(IMAGES, data__source="npz", data__path=str(folder / "images.npz"),
                       finetune__class_weights=[1.0, 3.0, 0.5]),
        "folder": changed(IMAGES, **files, data__image={"size": [9, 11], "channels": 1}),
        "steps": small(
            data={"source": "npz", "path": str(folder / "table.npz"), "limit": 54},
            # What is streamed is trained one after another, and in memory otherwise together.
            batched_trainings=False,
            steps=["pretrain", "select", "optimize", "finetune"],
            pretrain={"epochs": 1},
            select={"folds": 2, "epochs": 1,
                    "candidates": [{"name": "one"}, {"name": "two", "model": {"hidden": [3]}}]},
            optimize={"trials": 2, "epochs": 1,
                      "search": {"finetune.optimizer.learning_rate": {"low": 1e-3, "high": 0.1}}},
        ),
    }  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of every run; PyTorch and TensorFlow in processes of their own."""
    folder = tmp_path_factory.mktemp("streaming")
    (folder / "specs.json").write_text(json.dumps(trees(folder)))

    def run(backends: tuple[str, ...]) -> Any:
        place = folder / backends[0]
        place.mkdir()
        return python(PROGRAM, folder / "specs.json", *backends, cwd=place)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(run, (("torch", "huggingface", "jax"), ("tensorflow",)))
    return dict(first | second)


@pytest.mark.parametrize(
    ("backend", "name"),
    [*((backend, name) for backend in PROMISED for name in ("npz", "folder")), ("torch", "steps")],
)
def test_streamed_is_in_memory_to_the_bit(found: dict[str, Any], backend: str, name: str) -> None:
    load, stream = (found[f"{backend} {name} {how}"] for how in ("load", "stream"))
    assert (load.pop("streamed"), stream.pop("streamed")) == (False, True)
    for what in load:
        assert stream[what] == load[what], what
    splits = {row["split"] for row in load["rows"]}
    assert splits == {"train", "validation", "test"}


def test_a_file_that_changes_ends_the_run_in_words(run: Runner) -> None:
    """Written anew between epochs, which a program does to itself here."""
    save_npz(run.folder / "table.npz", *table(60))
    program = """
import json, sys
import paribus
from paribus.errors import DataError
from paribus.progress import Progress

class Meddler(Progress):
    def advance(self, steps, loss):
        with open("table.npz", "ab") as file:
            file.write(b"more")

spec = paribus.load("spec.json")
try:
    paribus.run(spec, out="out", progress=Meddler())
except DataError as error:
    print(json.dumps(str(error)))
"""
    run.write(small(data={"source": "npz", "path": "table.npz", "memory": "stream"}))
    assert "table.npz: has changed while the run was reading" in python(program, cwd=run.folder)
    result = json.loads((run.folder / "out" / "result.json").read_text())
    assert result["status"] == "failed"
    assert "has changed" in result["error"]["message"]


def test_compressed_data_cannot_be_streamed(run: Runner) -> None:
    x, y = table(60)
    np.savez_compressed(run.folder / "table.npz", x=x, y=y)
    tree = small(data={"source": "npz", "path": "table.npz", "memory": "stream"})
    failed = run.attempt(tree)
    refused(failed.done, 2, "table.npz: x takes", "is compressed", "numpy.savez", "'load'")
    assert not failed.folder.exists()


def test_a_step_that_reads_everything_at_once_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_npz(tmp_path / "table.npz", *table(60, features=50))
    tree = small(data={"source": "npz", "path": str(path), "memory": "stream"})
    whole = changed(tree, finetune__optimizer={"name": "gradient_descent"})
    prepare(Spec.model_validate(whole), Examples(Spec.model_validate(whole)))
    monkeypatch.setattr(feeding, "CHUNK_BYTES", 1000)
    monkeypatch.setattr(memory, "available", lambda: 60_000)
    prepare(Spec.model_validate(tree), Examples(Spec.model_validate(tree)))
    with pytest.raises(SpecError, match="finetune: one optimizer step or batch reads 39 rows"):
        prepare(Spec.model_validate(whole), Examples(Spec.model_validate(whole)))
