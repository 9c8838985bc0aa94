"""``paribus export --to onnx``: a run's predictions in a file that needs no framework."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from absent import without
from command import Worker, process, python, refused
from experiments import small
from safetensors.numpy import load_file, save_file

from paribus.onnx import check

Array = npt.NDArray[Any]

FRAMEWORKS = ("torch", "torchvision", "tensorflow", "keras", "transformers", "jax")
TREE = small(
    precision="float32",
    data__transform={"normalize": "train", "crop": 6},
    model={"architecture": "cnn", "channels": [3, 4]},
)

# Trains, predicts and writes in one process: TensorFlow's and onnx's messages are of one protobuf.
TRAIN = """
import json, sys
from pathlib import Path
import numpy as np
import paribus

spec, root, x = map(Path, sys.argv[1:])
with paribus.run(paribus.load(spec), backend="tensorflow", out=root / "run") as result:
    probabilities = result.predict_proba(np.load(x))
    written = result.save_onnx(root / "deep" / "own.onnx")
print(json.dumps([probabilities.tolist(), str(written)]))
"""


class Trained(NamedTuple):
    """A run folder, examples as its source stores them, its probabilities, its own ONNX file."""

    folder: Path
    x: Array
    probabilities: Array
    file: Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    root = tmp_path_factory.mktemp("trained")
    (root / "spec.json").write_text(json.dumps(TREE))
    x = np.random.default_rng(0).integers(0, 17, (5, 8, 8, 1)).astype(np.uint8)
    np.save(root / "x.npy", x)
    found, file = python(TRAIN, root / "spec.json", root, root / "x.npy", cwd=root)
    return Trained(root / "run", x, np.array(found), Path(file))


def _metadata(path: Path) -> dict[str, Any]:
    return {
        entry.key: json.loads(entry.value)
        for entry in onnx.load(path).metadata_props
        if entry.key not in ("architecture", "objective")
    }


def _probabilities(path: Path, x: Array) -> Array:
    """Return those of images [n, 6, 6, 1], already normalised."""
    inputs = np.ascontiguousarray(x.transpose(0, 3, 1, 2), dtype=np.float32)
    powers = np.exp(check(path, {"pixel_values": inputs})["logits"].astype(np.float64))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def test_a_machine_without_frameworks_exports_the_same_predictions(
    trained: Trained, tmp_path: Path
) -> None:
    environment = without(tmp_path, *FRAMEWORKS)
    words = ("export", trained.folder, "--to", "onnx", "out")
    done = process(*words, cwd=tmp_path, environment=environment)
    assert done.code == 0, done.err
    written = ("classes.txt", "model.onnx", "preprocessing.json")
    assert done.out.splitlines() == [f"wrote out/{name}" for name in written]
    path = tmp_path / "out" / "model.onnx"
    assert sorted(file.name for file in path.parent.iterdir()) == sorted(written)
    known = _metadata(path)
    assert known["class_names"] == ["0", "1", "2"]
    # The centre of the examples, and of pictures of them, in which white is 255 and not 16.
    centre, image, stored = trained.x[:, 1:7, 1:7], known["image"], known["preprocess"]
    assert (image["resize"], image["crop"]) == ([8, 8], [6, 6])
    for inputs in (
        centre * np.array(stored["scale"]) - np.array(stored["shift"]),
        (centre / 16.0 - np.array(image["mean"])) / np.array(image["std"]),
    ):
        # float32 on both sides.
        assert np.abs(_probabilities(path, inputs) - trained.probabilities).max() <= 1e-5
    assert np.ptp(trained.probabilities, axis=0).min() > 1e-3, "the inputs are not told apart"


def test_the_command_and_python_write_the_same_file(
    trained: Trained, tmp_path: Path, worker: Worker
) -> None:
    done = worker("export", trained.folder, "--to", "onnx", "out", cwd=tmp_path)
    assert done.code == 0, done.err
    assert (tmp_path / "out" / "model.onnx").read_bytes() == trained.file.read_bytes()
    assert list(trained.file.parent.iterdir()) == [trained.file]


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_names_the_install_command(
    trained: Trained, tmp_path: Path, package: str
) -> None:
    words = ("export", trained.folder, "--to", "onnx", "out")
    done = process(*words, cwd=tmp_path, environment=without(tmp_path, package))
    refused(done, 1, f"the package {package!r}", "pip install 'paribus[onnx]'")
    assert not (tmp_path / "out").exists()


def test_a_model_without_finite_outputs_is_refused(
    trained: Trained, tmp_path: Path, worker: Worker
) -> None:
    shutil.copytree(trained.folder, tmp_path / "run")
    file = tmp_path / "run" / "weights.safetensors"
    tensors = load_file(file)
    # Finite themselves, so only their products are found to be not.
    huge = {"bn1.bias": 9.0, "fc.weight": 3e38}
    save_file(tensors | {n: np.full_like(tensors[n], value) for n, value in huge.items()}, file)
    done = worker("export", "run", "--to", "onnx", "out", cwd=tmp_path)
    refused(done, 1, "logits are NaN or infinite", "its training has diverged")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
