"""``paribus export``: whichever backend trained a model, each framework's own loader opens it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from command import Done, Worker, python, refused
from experiments import Tree, small
from labs import PROMISED
from photographs import CAT

from paribus.errors import WeightsError
from paribus.pretrained import describe


class Exported(NamedTuple):
    """Run folders by backend below ``root``; logits of the opened files by target, run, row."""

    root: Path
    logits: dict[str, Any]


# The smallest network that torchvision, Keras and transformers all open with no code of ours.
TREE: Tree = small(
    precision="float32",
    data__image={"channels": 3},
    model={
        "architecture": "vit",
        "patch": 4,
        "layers": 2,
        "heads": 2,
        "hidden": 8,
        "mlp": 12,
    },
    finetune__epochs=1,
)

# The parts of a test program: with TensorFlow, train the run of its own, export every run and open
# the files; without, open what the command has exported. Each prints the logits of what it opened.
HEADER = """
import json, sys
from pathlib import Path
import numpy as np
import paribus

tests, spec, root, *backends = sys.argv[1:]
root = Path(root)
sys.path.insert(0, tests)
from opened import LOAD

def logits(target):
    found = []
    for trained in ("torch", "tensorflow", "huggingface", "jax"):
        stored = paribus.Result(root / trained).metrics["model"]["preprocess"]
        x = np.load(root / "x.npy") * np.array(stored["scale"]) - np.array(stored["shift"])
        inputs = x.astype(np.float32).transpose(0, 3, 1, 2).copy()
        model = LOAD[target]("vit", root / f"{trained} to {target}")
        found.append(np.asarray(model(inputs)).tolist())
    return found
"""
TENSORFLOW = (
    HEADER
    + """
paribus.run(paribus.load(spec), backend="tensorflow", out=root / "tensorflow")
for trained in ("torch", "tensorflow", "huggingface", "jax"):
    paribus.export(root / trained, "tensorflow", root / f"{trained} to tensorflow")
with paribus.Result(root / "tensorflow") as result:
    own = result.logits(np.load(root / "x.npy")).tolist()
print(json.dumps({"own": own, "tensorflow": logits("tensorflow")}))
"""
)
OTHERS = (
    HEADER
    + """
print(json.dumps({backend: logits(backend) for backend in ("torch", "huggingface", "jax")}))
"""
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, worker: Worker) -> Exported:
    """The same experiment trained by each backend, each run exported to each."""
    root = tmp_path_factory.mktemp("exported")
    (root / "spec.json").write_text(json.dumps(TREE))
    np.save(root / "x.npy", np.random.default_rng(0).integers(0, 17, (5, 8, 8, 3)).astype(np.uint8))
    arguments = (Path(__file__).parents[1], root / "spec.json", root)

    def command(*words: str) -> None:
        done = worker(*words, cwd=root)
        assert done.code == 0, done.err

    # The worker has PyTorch in its process, which TensorFlow must not share.
    for trained in ("torch", "huggingface", "jax"):
        command("run", "spec.json", "--backend", trained, "--out", trained)
    found = python(TENSORFLOW, *arguments, cwd=root)
    for trained in PROMISED:
        for target in ("torch", "huggingface", "jax"):
            command("export", trained, "--to", target, f"{trained} to {target}")
    found |= python(OTHERS, *arguments, cwd=root)
    return Exported(root, found)


def test_every_pair_opens_to_the_same_predictions(exported: Exported) -> None:
    logits = {target: np.array(exported.logits[target]) for target in PROMISED}
    assert np.abs(logits["tensorflow"][1] - exported.logits["own"]).max() <= 1e-5
    for target in PROMISED:
        # By the run that was exported, in the order of PROMISED; float32.
        assert np.abs(logits[target] - logits["torch"]).max() <= 1e-5, target
    assert np.ptp(logits["torch"], axis=1).min() > 1e-3, "the inputs are not told apart"


def test_a_folder_that_is_not_empty_is_left_alone(
    exported: Exported, tmp_path: Path, worker: Worker
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    words = ("export", exported.root / "torch", "--to", "huggingface", folder)
    refused(worker(*words, cwd=tmp_path), 2, f"{folder} is not empty", "--overwrite")
    assert (folder / "config.json").read_text() == "mine"
    done = worker(*words, "--overwrite", cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        f"wrote {folder / name}"
        for name in (
            "classes.txt", "config.json", "model.safetensors", "preprocessing.json",
            "preprocessor_config.json",
        )
    ]  # fmt: skip
    assert "vit" in (folder / "config.json").read_text()
    assert (folder / "notes.txt").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [folder]


def test_what_goes_with_a_model_is_written_beside_it(exported: Exported) -> None:
    for target, model in (("torch", "model.safetensors"), ("tensorflow", "model.keras")):
        folder = exported.root / f"torch to {target}"
        assert sorted(path.name for path in folder.iterdir()) == sorted(
            ["classes.txt", "preprocessing.json", model]
        )
        assert (folder / "classes.txt").read_text() == "0\n1\n2\n"
        written = json.loads((folder / "preprocessing.json").read_text())
        assert (written["resize"], written["crop"]) == ([8, 8], [8, 8])
        assert len(written["mean"]) == len(written["std"]) == 3


def test_an_exported_folder_predicts_as_the_run(
    exported: Exported, tmp_path: Path, worker: Worker
) -> None:
    """Its classes and its preprocessing are in transformers' files, and are read from them.

    A run folder says the same of itself.
    """

    def guesses(*words: str | Path) -> Any:
        options = ("--backend", "torch", "--device", "cpu", "--json")
        done = worker("predict", *words, CAT, *options, cwd=tmp_path)
        assert done.code == 0, done.err
        return {g["label"]: g["probability"] for g in json.loads(done.out)[0]["top"]}

    own = guesses(exported.root / "torch")
    assert sorted(own) == ["0", "1", "2"]
    folders = (exported.root / "torch", exported.root / "torch to huggingface")
    for folder in folders:
        found = guesses("--weights", folder)
        assert list(own) == list(found)
        # float32; the run scales a picture to its own units, these constants are for 0 … 255.
        assert found == pytest.approx(own, abs=1e-5)
    run, saved = (describe(folder) for folder in folders)
    off = {"dropout": 0.0, "attention_dropout": 0.0, "stochastic_depth": 0.0}
    assert run.model == {**TREE["model"], "gelu": "exact", "eps": 1e-6, **off}
    assert {**saved.model, **off} == run.model
    assert (run.image, run.class_names) == (saved.image, saved.class_names)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("architecture", "vitt", 'model.architecture = "vitt"; expected one of mlp'),
        ("parameters", {"patch": 0}, "describes no vit that paribus can build: patch"),
        ("stored_shape", [8, -8, 3], "model.stored_shape = [8, -8, 3]"),
        ("interpolation", "area", 'model.interpolation = "area" is not supported'),
        ("value_range", 0, "model.value_range = 0; expected a number above 0"),
        ("preprocess", {"scale": [1], "shift": [0, 0]}, "model.preprocess.scale = [1]; expected"),
        ("class_names", [1, 2, 3], "model.class_names = [1, 2, 3]; expected a list of texts"),
    ],
)
def test_a_run_folder_is_anybodys_too(
    exported: Exported, tmp_path: Path, key: str, value: Any, words: str
) -> None:
    result = json.loads((exported.root / "torch" / "result.json").read_text())
    result["model"][key] = value
    (tmp_path / "result.json").write_text(json.dumps(result))
    (tmp_path / "weights.safetensors").write_bytes(b"not looked at")
    with pytest.raises(WeightsError) as refusal:
        describe(tmp_path)
    assert words in str(refusal.value)
    assert "result.json: " in str(refusal.value)


def _export(worker: Worker, folder: Path, *words: str | Path) -> Done:
    return worker("export", *words, cwd=folder)


def test_what_is_wrong_is_said(exported: Exported, tmp_path: Path, worker: Worker) -> None:
    (tmp_path / "file").write_text("in the way")
    run = exported.root / "torch"
    nowhere = _export(worker, tmp_path, "nowhere", "--to", "torch", "out")
    refused(nowhere, 1, "nowhere is not a run folder")
    unknown = _export(worker, tmp_path, run, "--to", "onnix", "out")
    allowed = "allowed: torch, tensorflow, huggingface, jax, onnx. Did you mean 'onnx'?"
    refused(unknown, 2, "unknown target 'onnix'", allowed)
    refused(_export(worker, tmp_path, run, "--to", "torch", "file"), 2, "file cannot be written")
    refused(_export(worker, tmp_path, run, "out"), 2, "--to")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
