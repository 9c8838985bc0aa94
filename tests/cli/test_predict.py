"""``paribus predict``: published weights on photographs, and a run on image files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from absent import without
from command import Done, Run, Runner, Worker, process, python, refused
from experiments import save_npz, small, table
from labs import PROMISED
from photographs import CAT, CHINA, COFFEE, MOBILENET, PHOTOGRAPHS
from PIL import Image

from paribus import weights
from paribus.architectures import build

PUBLISHED_WEIGHTS = ("--architecture", "mobilenet_v2", "--weights", str(MOBILENET))

# What torchvision's users do: its model, its weights, the preprocessing that it publishes.
TORCHVISION = """
import json, sys
import torch
from PIL import Image
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2

model = mobilenet_v2()
model.load_state_dict(torch.load(sys.argv[1], weights_only=True))
transform = MobileNet_V2_Weights.IMAGENET1K_V1.transforms()
images = [transform(Image.open(path).convert("RGB")) for path in sys.argv[2:]]
with torch.no_grad():
    print(json.dumps(model.eval()(torch.stack(images)).double().softmax(1).tolist()))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, worker: Worker) -> dict[str, Any]:
    """All 1000 probabilities of each photograph, by backend."""
    folder = tmp_path_factory.mktemp("photographs")

    def command(backend: str) -> Any:
        options = ("--backend", backend, "--device", "cpu", "--top", "1000", "--json")
        words = ("predict", *PUBLISHED_WEIGHTS, *options, *PHOTOGRAPHS)
        # The worker has PyTorch in its process, which TensorFlow must not share.
        done = (process if backend == "tensorflow" else worker)(*words, cwd=folder)
        assert done.code == 0, done.err
        return json.loads(done.out)

    return {backend: command(backend) for backend in PROMISED}


def _probabilities(predictions: Any) -> np.ndarray[Any, Any]:
    """Return [files, classes] in the order of the class numbers."""
    rows = [{guess["class"]: guess["probability"] for guess in p["top"]} for p in predictions]
    return np.array([[row[number] for number in range(1000)] for row in rows])


@pytest.mark.parametrize("backend", PROMISED)
def test_published_weights_know_the_photographs(found: dict[str, Any], backend: str) -> None:
    for prediction, (path, number) in zip(found[backend], PHOTOGRAPHS.items(), strict=True):
        assert prediction["input"] == str(path)
        best = prediction["top"][0]
        assert best["class"] == number
        assert best["label"] == str(number)
        guessed = [guess["probability"] for guess in prediction["top"]]
        assert guessed == sorted(guessed, reverse=True)
        assert sum(guessed) == pytest.approx(1)


def test_probabilities_are_torchvisions_own_on_every_backend(
    found: dict[str, Any], tmp_path: Path
) -> None:
    own = np.array(python(TORCHVISION, MOBILENET, *PHOTOGRAPHS, cwd=tmp_path))
    for backend in PROMISED:
        # float32 through 52 convolutions; 1e-4 is what is promised.
        assert np.abs(_probabilities(found[backend]) - own).max() <= 1e-5, backend


def test_a_table_has_the_files_classes_and_given_names(tmp_path: Path, worker: Worker) -> None:
    network = build("mobilenet_v2", {}, (3, 224, 224), 3)
    drawn = weights.draw(network, 0)
    drawn["classifier.1.bias"] = np.array([0.0, 9.0, 5.0])
    weights.save(tmp_path / "three.safetensors", drawn, {})
    (tmp_path / "names.txt").write_text("dog\nEgyptian cat\n[bold]\n")
    done = worker(
        "predict", "--architecture", "mobilenet_v2", "--weights", "three.safetensors",
        "--backend", "torch", "--device", "cpu", "--labels", "names.txt", "--top", "2", CAT, CHINA,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.err
    rows = [" ".join(line.split()) for line in done.out.splitlines()]
    assert [rows[0], rows[3]] == [str(CAT), str(CHINA)]
    assert [row.partition("% ")[2] for row in rows if "%" in row] == [
        "class 1 Egyptian cat", "class 2 [bold]",
    ] * 2  # fmt: skip


Predict = Callable[..., Done]


@pytest.fixture(scope="module")
def predict(tmp_path_factory: pytest.TempPathFactory, worker: Worker) -> Predict:
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "junk.png").write_bytes(b"this is no image")
    (folder / "notes.txt").write_text("nor is this")
    (folder / "short.txt").write_text("one\ntwo\n")
    other = build("resnet18", {}, (3, 224, 224), 10)
    weights.save(folder / "resnet.safetensors", weights.draw(other, 0), {})
    return lambda *arguments: worker("predict", *arguments, cwd=folder)


WRONG: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "no such input": ((*PUBLISHED_WEIGHTS, "no.png"), ("no.png: there is no such file",)),
    "a folder": ((*PUBLISHED_WEIGHTS, "."), (". is a folder", "name the images in it")),
    "no image": ((*PUBLISHED_WEIGHTS, "notes.txt"), ("notes.txt: not an image", ".jpg")),
    "junk": ((*PUBLISHED_WEIGHTS, "junk.png"), ("junk.png: cannot be read as an image", "PNG")),
    "unknown": (
        ("--architecture", "mobilnet_v2", "--weights", "x.pth", str(CAT)),
        ("architecture 'mobilnet_v2': unknown", "Did you mean 'mobilenet_v2'?"),
    ),
    "unpublished": (
        ("--architecture", "cnn", "--weights", "x.pth", str(CAT)),
        ("architecture 'cnn': no published weights", "resnet18"),
    ),
    "no weights": (
        ("--architecture", "resnet18", "--weights", "x.pth", str(CAT)),
        ("no weights at x.pth", "a run folder, a .safetensors file", ".pth"),
    ),
    "other weights": (
        ("--architecture", "mobilenet_v2", "--weights", "resnet.safetensors", str(CAT)),
        ("resnet.safetensors do not fit the network", "missing", "features.0.0.weight", "extra",
         "layer1.0.bn1.weight", "The network is mobilenet_v2"),
    ),
    "half": (("--architecture", "resnet18", str(CAT)), ("belong together",)),
    "labels": (
        ("--architecture", "resnet18", "--weights", "resnet.safetensors", "--labels", "short.txt",
         "--backend", "torch", str(CAT)),
        ("2 class names were given, but the model has 10 classes",),
    ),
    "no labels": (
        (*PUBLISHED_WEIGHTS, "--labels", "no.txt", str(CAT)),
        ("no.txt: class names cannot be read",),
    ),
    "resize": (
        (*PUBLISHED_WEIGHTS, "--resize", "100", str(CAT)),
        ("resize = 100", "allowed: 224 or more"),
    ),
    "no files": (("run",), ("nothing to predict", "files or texts after the run run")),
    "no backend": (
        (*PUBLISHED_WEIGHTS, "--backend", "tourch", str(CAT)),
        ("unknown backend 'tourch'", "Did you mean 'torch'?"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(
    predict: Predict, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    refused(predict(*arguments), 2, *words)


def test_no_run_folder(predict: Predict) -> None:
    words = ("is not a run folder", "--architecture and --weights")
    refused(predict("nowhere", str(CAT)), 1, "nowhere", *words)
    refused(predict(str(MOBILENET), str(CAT)), 1, str(MOBILENET), *words)


def test_without_pytorch_its_files_name_the_install_command(tmp_path: Path) -> None:
    environment = without(tmp_path, "torch")
    done = process(
        "predict", *PUBLISHED_WEIGHTS, "--backend", "tensorflow", CAT,
        cwd=tmp_path, environment=environment,
    )  # fmt: skip
    refused(done, 1, "reading .pth files", "pip install 'paribus[torch]'", "safetensors")


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_a_folder_of_transformers_needs_no_architecture(
    published: Path, tmp_path: Path, worker: Worker, name: str
) -> None:
    """Its own preprocessing and names; the probabilities are those that transformers gives."""
    done = worker(
        "predict", "--weights", published / name, "--backend", "torch", "--json", CAT, cwd=tmp_path
    )
    assert done.code == 0, done.err
    top = sorted(json.loads(done.out)[0]["top"], key=lambda guess: guess["class"])
    expected = json.loads((published / name / "cat.json").read_text())
    assert [guess["probability"] for guess in top] == pytest.approx(expected, abs=1e-5)
    named = ["cat", "coffee", "palace"] if name == "vit" else ["0", "1", "2"]
    assert [guess["label"] for guess in top] == named


def test_what_a_folder_cannot_do_is_said(published: Path, tmp_path: Path, worker: Worker) -> None:
    def said(folder: Path, *options: str) -> Done:
        return worker("predict", "--weights", folder, *options, CAT, cwd=tmp_path)

    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(published / "resnet" / "config.json", bare)
    refused(said(published / "gpt2"), 2, "has no tokenizer; expected tokenizer.json")
    refused(said(bare), 2, "does not say how pictures become its inputs")
    refused(said(MOBILENET), 2, "does not say what it is; name its architecture: resnet18")
    refused(
        said(published / "vit", "--architecture", "vit_b_16"), 2,
        "says that it is 'vit'; leave the architecture out",
    )  # fmt: skip
    refused(said(published / "vit", "--resize", "40"), 2, "resizes pictures to 32×32, whatever")
    refused(said(published / "resnet", "--resize", "20"), 2, "resize = 20", "32 or more")
    refused(said(tmp_path / "no"), 2, "no weights at", "a Hugging Face model folder")


@pytest.fixture
def trained(run: Runner) -> Run:
    """A run on two class folders of photographs' pieces, half transparent, resized, in grey."""
    for name, source in (("cat", CAT), ("coffee", COFFEE)):
        (run.folder / "photos" / name).mkdir(parents=True)
        photograph = Image.open(source)
        for number in range(8):
            left, top = 30 * number, 20 * number
            piece = photograph.crop((left, top, left + 150 + number, top + 120))
            piece.putalpha(Image.linear_gradient("L").resize(piece.size))
            piece.save(run.folder / "photos" / name / f"{number}.png")
    tree = small(
        data={
            "source": "image_folder",
            "path": str(run.folder / "photos"),
            "image": {"size": [12, 14], "channels": 1, "interpolation": "bicubic",
                      "background": [9, 90, 200]},
            "transform": {"normalize": "train", "crop": 10},
            "split": {"validation": 0.25, "test": 0.25},
        },
        model={"architecture": "cnn", "channels": [3, 4]},
    )  # fmt: skip
    return run(tree)


# The probabilities of a run's own examples, and those that another one gives a white spot.
AS_TRAINED = """
import json, sys
from pathlib import Path
import numpy as np
import paribus
from paribus import data

folder, digits = sys.argv[1:]
examples = data.load(paribus.load(Path(folder) / "spec.toml").data, 0).x
spot = np.zeros((1, 8, 8))
spot[0, 2:6, 3:5] = 16
print(json.dumps([paribus.Result(run, device="cpu").predict_proba(x).tolist()
                  for run, x in ((folder, examples), (digits, spot))]))
"""


def test_a_run_sees_files_as_it_saw_its_examples(trained: Run, run: Runner, worker: Worker) -> None:
    """White is the data's largest value: 255 in a folder of images, 16 in scikit-learn's digits."""
    digits = run(small(), out="digits")
    spot = np.zeros((8, 8), dtype=np.uint8)
    spot[2:6, 3:5] = 255
    Image.fromarray(spot).save(run.folder / "spot.png")
    files = sorted((run.folder / "photos").glob("*/*.png"))
    expected = python(AS_TRAINED, trained.folder, digits.folder, cwd=run.folder)
    for known, paths, rows, names in (
        (trained, files, expected[0], ("cat", "coffee")),
        (digits, [run.folder / "spot.png"], expected[1], ("0", "1", "2")),
    ):
        done = worker("predict", known.folder, *paths, "--json", cwd=run.folder)
        assert done.code == 0, done.err
        predictions = json.loads(done.out)
        for prediction, row in zip(predictions, rows, strict=True):
            by_class = {guess["class"]: guess for guess in prediction["top"]}
            assert tuple(by_class[number]["label"] for number in range(len(row))) == names
            guessed = [by_class[number]["probability"] for number in range(len(row))]
            # float64; batches of another size may sum in another order.
            assert guessed == pytest.approx(row, abs=1e-12)


def test_a_run_on_tables_has_no_images(run: Runner, worker: Worker) -> None:
    path = save_npz(run.folder / "x.npz", *table(60))
    done = run(small(data={"source": "npz", "path": str(path)}))
    said = worker("predict", done.folder, CAT, cwd=run.folder)
    refused(said, 2, "trained on tables", "paribus.Result(folder).predict(array)")
