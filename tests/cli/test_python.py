"""The same from Python: ``load``, ``run`` and what a ``Result`` can do on any backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from command import Run, Runner, Worker, python
from experiments import small
from labs import PROMISED

RUN = """
import json, sys
import numpy as np
import paribus

spec = paribus.load("spec.json", ["finetune.epochs=3"])
result = paribus.run(spec, out="out")
images = np.random.default_rng(0).integers(0, 17, size=(300, 8, 8), dtype=np.uint8)

def refused(kind, call, *arguments):
    try:
        call(*arguments)
    except kind as error:
        return str(error)
    raise AssertionError(f"{call} took {arguments}")

from paribus.errors import DataError, RunError, RunFolderError, SpecError

with result:
    probabilities = result.predict_proba(images)
    labels = result.predict(images)
    same = np.array_equal(result.predict(images[..., None]), labels)
    shapes = [refused(DataError, result.predict, np.zeros(shape, np.uint8))
              for shape in ((0, 8, 8), (3, 8, 9), (8, 8), (2, 8, 8, 3))]
    bad = refused(DataError, result.predict, np.full((2, 8, 8), np.nan))
again = result.predict(images)  # a closed result opens again
result.close()

selected = paribus.run(paribus.load("select.json"), out="selected")
print(json.dumps({
    "metrics": result.metrics["steps"]["finetune"]["epochs"],
    "folder": str(result.folder),
    "test": result.test,
    "rows": len(result.history),
    "class_names": result.class_names,
    "repr": repr(result),
    "sums": [float(probabilities.sum(axis=1).min()), float(probabilities.sum(axis=1).max())],
    "labels": [str(labels.dtype), list(labels.shape), int(labels.min()), int(labels.max())],
    "agree": bool((probabilities.argmax(axis=1) == labels).all() and same),
    "again": bool((again == labels).all()),
    "shapes": shapes,
    "bad": bad,
    "no model": refused(RunError, selected.predict, images),
    "no test": selected.test,
    "no folder": refused(RunFolderError, paribus.Result, "."),
    "twice": refused(RunFolderError, lambda: paribus.run(spec, out="out")),
    "no spec": refused(SpecError, paribus.load, {"seed": "x"}),
    "public": sorted(set(dir(paribus)) & set(paribus.__all__)) == sorted(paribus.__all__),
}))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory, worker: Worker) -> Any:
    runner = Runner(tmp_path_factory.mktemp("python"), worker)
    runner.write(small())
    candidates = [{"name": "mlp"}]
    runner.write(small(steps=["select"], select={"candidates": candidates}), "select.json")
    return python(RUN, cwd=runner.folder)


def test_run_returns_what_the_folder_holds(said: Any) -> None:
    assert said["metrics"] == 3
    assert said["folder"] == "out"
    assert said["test"]["examples"] == 18
    assert said["rows"] == 3 * 2 + 3 + 1
    assert said["class_names"] == ["0", "1", "2"]
    assert said["repr"] == "Result('out', status='complete')"
    assert said["public"]


def test_predictions(said: Any) -> None:
    assert said["sums"] == pytest.approx([1.0, 1.0], abs=1e-12)
    dtype, shape, low, high = said["labels"]
    assert (dtype, shape) == ("int64", [300])
    assert 0 <= low <= high <= 2
    assert said["agree"]
    assert said["again"]


def test_what_does_not_fit_is_refused(said: Any) -> None:
    for shape, message in zip(
        ("(0, 8, 8", "(3, 8, 9)", "(8, 8)", "(2, 8, 8, 3)"), said["shapes"], strict=True
    ):
        assert f"received an array of shape {shape}" in message
        assert "expected at least one example in shape (N, 8, 8, 1)" in message
    assert "NaN or infinite" in said["bad"]


def test_errors_are_those_of_the_command(said: Any) -> None:
    assert "has no model" in said["no model"]
    assert said["no test"] is None
    assert "is not a run folder" in said["no folder"]
    assert "already holds a run" in said["twice"]
    assert "seed = 'x'" in said["no spec"]


# Given a folder, a backend and a place for files: the run's logits, those of the native model, and
# those of what its own framework's loader makes of the saved files.
OPEN = """
import json, sys
from pathlib import Path
import numpy as np
import paribus

folder, backend, target = sys.argv[1:]
result = paribus.Result(folder, backend=backend, device="cpu")
x = np.load(Path(target) / "x.npy")
stored = result.metrics["model"]["preprocess"]
inputs = (x * np.array(stored["scale"]) - np.array(stored["shift"])).astype(
    result.metrics["precision"])
logits, native = result.logits(x), result.native()
path = result.save_native(Path(target) / backend)
network = result.metrics["model"]["architecture"]
"""
TORCH = """
import torch

def change(model):
    for parameter in model.parameters():
        parameter.data.add_(1)

def call(model):
    images = torch.tensor(inputs.transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        found = model(images)
    return getattr(found, "logits", found).numpy()
"""
OPENED = {
    "torch": TORCH
    + """
import torchvision
from safetensors.torch import load_file

kind = isinstance(native, torchvision.models.ResNet) if network == "resnet18" else True
kind = kind and isinstance(native, torch.nn.Module)
loaded = torchvision.models.resnet18(num_classes=3) if network == "resnet18" else result.native()
loaded.load_state_dict(load_file(path))
""",
    "tensorflow": """
import keras

def change(model):
    model.set_weights([weight + 1 for weight in model.get_weights()])

def call(model):
    return np.asarray(model(inputs, training=False))

kind = isinstance(native, keras.Model)
loaded = keras.saving.load_model(path)
""",
    "huggingface": TORCH
    + """
import transformers

kind = isinstance(native, transformers.PreTrainedModel)
if network == "resnet18":
    kind = kind and isinstance(native, transformers.ResNetForImageClassification)
loaded = transformers.AutoModelForImageClassification.from_pretrained(
    path, dtype=getattr(torch, result.metrics["precision"]))
""",
    "jax": """
import jax
from jax import export
from safetensors.numpy import load_file

jax.config.update("jax_enable_x64", result.metrics["precision"] == "float64")

def change(model):
    model.params.update({name: value + 1 for name, value in model.params.items()})

def call(model):
    return np.asarray(model(inputs))

kind = isinstance(native.params["fc.weight"], jax.Array)
compiled = jax.jit(native.apply)(native.params, inputs)
kind = kind and np.allclose(compiled, native(inputs), rtol=1e-4)
exported = export.deserialize(bytearray(path.with_name("apply.jax").read_bytes()))
loaded = lambda x: exported.call(load_file(path), x)
""",
}
CLOSE = """
getattr(loaded, "eval", lambda: None)()
for name, found in (("logits", logits), ("native", call(native)), ("loaded", call(loaded))):
    np.save(Path(target) / f"{backend}-{name}.npy", found)
change(native)  # it is the user's own: the result goes on saying what the run found
kind = kind and bool((result.logits(x) == logits).all())
result.close()
print(json.dumps(kind))
"""


def opened(folder: Path, backend: str, target: Path) -> dict[str, npt.NDArray[np.float64]]:
    """Return logits of a run folder's model as ``backend`` says them, by where they are from."""
    # of the right class, and not the session's own
    kind = python(OPEN + OPENED[backend] + CLOSE, folder, backend, target, cwd=target)
    assert kind is True
    return {
        name: np.load(target / f"{backend}-{name}.npy") for name in ("logits", "native", "loaded")
    }


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory, worker: Worker) -> Run:
    """A torch run in float32 whose model every framework has a published class for."""
    runner = Runner(tmp_path_factory.mktemp("resnet"), worker)
    image = {"size": [32, 32], "channels": 3}
    tree = small(
        model={"architecture": "resnet18"},
        precision="float32",
        data__image=image,
        data__transform={"normalize": "train"},
        finetune__epochs=1,
    )
    return runner(tree)


def test_a_run_opens_on_every_backend(resnet: Run, tmp_path: Path) -> None:
    """Trained on torch; opened as a native model elsewhere, saved, and loaded by its framework."""
    x = np.random.default_rng(1).integers(0, 17, size=(20, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    found = {name: opened(resnet.folder, name, tmp_path) for name in PROMISED}
    reference = found["torch"]["logits"]
    # float32 sums of a few thousand terms, in another order
    tolerance = 1e-5 * np.abs(reference).max()
    for name, logits in found.items():
        for source, array in logits.items():
            assert np.abs(array - reference).max() < tolerance, (name, source)


@pytest.mark.parametrize("backend", PROMISED)
def test_models_of_paribus_own_are_native_too(
    four: dict[str, Run], tmp_path: Path, backend: str
) -> None:
    x = np.random.default_rng(1).integers(0, 17, size=(20, 8, 8, 1), dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    found = opened(four[backend].folder, backend, tmp_path)
    for logits in found.values():
        np.testing.assert_allclose(logits, found["logits"], rtol=1e-10)
