"""Keras's files of weights: VGG in each published layout, and nothing that HDF5 can do besides."""

from __future__ import annotations

import json
from pathlib import Path

import cases
import numpy as np
import pytest
from command import Worker, python, refused
from labs import Pool
from photographs import CAT

from paribus import reference, weights
from paribus.architectures import build, vgg
from paribus.architectures.published import KERAS
from paribus.errors import WeightsError

# VGG16 under keras.applications' names, but narrow; in each layout, with Keras's own answer.
KERAS_VGG = """
import json, os, sys
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import h5py, keras
import numpy as np
from pathlib import Path
from keras import layers
from keras.applications.vgg16 import preprocess_input

folder = Path(sys.argv[1])
keras.utils.set_random_seed(5)

def vgg(top):
    x = source = keras.Input((224, 224, 3))
    for block, (depth, width) in enumerate(zip((2, 2, 3, 3, 3), (2, 3, 4, 5, 6)), start=1):
        for number in range(1, depth + 1):
            x = layers.Conv2D(width, 3, padding="same", activation="relu",
                              bias_initializer="normal", name=f"block{block}_conv{number}")(x)
        x = layers.MaxPooling2D(2, 2, name=f"block{block}_pool")(x)
    if top:
        x = layers.Flatten(name="flatten")(x)
        for name in ("fc1", "fc2"):
            x = layers.Dense(7, activation="relu", bias_initializer="normal", name=name)(x)
        x = layers.Dense(4, bias_initializer="normal", name="predictions")(x)
    return keras.Model(source, x, name="vgg16")

model = vgg(top=True)
model.save_weights(folder / "new.weights.h5")
model.save(folder / "whole.h5")
vgg(top=False).save_weights(folder / "notop.weights.h5")
for name, leaves in (("older", ("{0}/kernel:0", "{0}/bias:0")),
                     ("first", ("{0}_W_1:0", "{0}_b_1:0"))):
    with h5py.File(folder / f"{name}.h5", "w") as file:
        file.attrs["layer_names"] = [layer.name for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            for leaf, value in zip(leaves, layer.get_weights()):
                group[leaf.format(layer.name)] = value
images = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
np.save(folder / "images.npy", images)
np.save(folder / "outputs.npy", model(preprocess_input(images.astype(np.float32))).numpy())

# What a file of weights does not need.
good = folder / "first.h5"
def changed(name, change):
    path = folder / f"{name}.h5"
    path.write_bytes(good.read_bytes())
    with h5py.File(path, "r+") as file:
        change(file, file["fc1"])

def renewed(group, **options):
    value = group["fc1_b_1:0"][()]
    del group["fc1_b_1:0"]
    group.create_dataset("fc1_b_1:0", **{"data": value, **options})

def linked(link):
    def change(file, group):
        del group["fc1_b_1:0"]
        group["fc1_b_1:0"] = link
    return change

def virtual(file, group):
    layout = h5py.VirtualLayout(shape=(7,), dtype="f4")
    layout[:] = h5py.VirtualSource(str(good), "fc1/fc1_b_1:0", shape=(7,))
    del group["fc1_b_1:0"]
    group.create_virtual_dataset("fc1_b_1:0", layout)

def huge(file, group):
    del group["fc1_b_1:0"]
    group.create_dataset("fc1_b_1:0", shape=(2**50,), dtype="f4")

def cycle(file, group):
    group["again"] = group

def repeated(file, group):
    del file["fc2"]["fc2_W_1:0"]
    file["fc2"]["fc2_W_1:0"] = group["fc1_W_1:0"]

def other(file, group):
    file["conv2d_7/kernel"] = np.ones((3, 3, 3, 8), np.float32)

def short(file, group):
    del group["fc1_W_1:0"]
    group["fc1_W_1:0"] = np.ones((100, 7), np.float32)

def flat(file, group):
    del file["block1_conv1"]["block1_conv1_W_1:0"]
    file["block1_conv1"]["block1_conv1_W_1:0"] = np.ones(9, np.float32)

changed("external link", linked(h5py.ExternalLink(str(good), "fc1/fc1_b_1:0")))
changed("soft link", linked(h5py.SoftLink("/fc2/fc2_b_1:0")))
changed("objects", lambda file, group: renewed(
    group, data=["os.system"] * 7, dtype=h5py.string_dtype()))
changed("integers", lambda file, group: renewed(group, dtype="i4"))
changed("virtual", virtual)
changed("outside", lambda file, group: renewed(
    group, data=None, shape=(7,), dtype="f4", external=[(str(folder / "images.npy"), 0, 28)]))
changed("compressed", lambda file, group: renewed(group, compression="gzip"))
changed("chunked", lambda file, group: renewed(group, chunks=(7,)))
changed("huge", huge)
changed("cycle", cycle)
changed("repeated", repeated)
changed("other", other)
changed("short", short)
changed("flat", flat)
changed("no bias", lambda file, group: group.pop("fc1_b_1:0"))
changed("twice", lambda file, group: group.create_dataset("fc1/bias:0", data=np.ones(7, "f4")))
changed("nan", lambda file, group: group["fc1_b_1:0"].write_direct(np.full(7, np.nan, "f4")))
data = good.read_bytes()
(folder / "cut.h5").write_bytes(data[: len(data) // 2])
(folder / "junk.h5").write_bytes(b"junk" * 64)
with h5py.File(folder / "empty.h5", "w"):
    pass
print(json.dumps(True))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keras")
    assert python(KERAS_VGG, folder, cwd=folder)
    return folder


def test_every_layout_is_the_same_tensors(pool: Pool, files: Path) -> None:
    backend = pool.backend("tensorflow")
    same = backend.read_tensors(files / "new.weights.h5")
    assert len(same) == 2 * 16
    for name in ("whole.h5", "older.h5", "first.h5"):
        found = backend.read_tensors(files / name)
        assert weights.fingerprint(found) == weights.fingerprint(same), name
    body = backend.read_tensors(files / "notop.weights.h5")
    assert list(body) == [name for name in same if name.startswith("features.")]


def test_the_canonical_network_answers_as_keras(
    pool: Pool, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red, green, blue in; the definitions in NumPy and float64 against Keras in float32."""
    monkeypatch.setattr(vgg, "WIDTHS", (2, 3, 4, 5, 6))
    network = build("vgg16", {"hidden": 7}, (3, 224, 224), 4)
    tensors = pool.backend("tensorflow").read_tensors(files / "first.h5")
    weights.check(tensors, weights.shapes(network))
    image, images = KERAS["vgg16"], np.load(files / "images.npy")
    x = (images / 255 - np.array(image.mean)) / np.array(image.std)
    found, _ = reference.forward(network, tensors, x.transpose(0, 3, 1, 2))
    expected = np.load(files / "outputs.npy")
    assert np.ptp(expected, axis=0).min() > 1e-3, "the images are not told apart"
    assert cases.distance(found, expected) <= 1e-5


WRONG = {
    "external link": "fc1/fc1_b_1:0 is a ExternalLink, which leads elsewhere; refused",
    "soft link": "fc1/fc1_b_1:0 is a SoftLink, which leads elsewhere; refused",
    "objects": "fc1/fc1_b_1:0 cannot be read: its values are object",
    "integers": "cannot be read: its values are int32; allowed: plain arrays of floats",
    "virtual": "it is put together from other datasets",
    "outside": "its values are in other files",
    "compressed": "its values are compressed",
    "chunked": "its values are in pieces",
    "huge": "it claims 4,503,599,627,370,496 bytes, but has 0",
    "cycle": "too many groups, or too deep",
    "repeated": "shares bytes with another array",
    "other": "is not a file of keras.applications' VGG16 or VGG19",
    "short": "fc1 has 100 inputs; allowed: 7 × 7 × channels",
    "flat": "the kernel of block1_conv1 has shape (9,)",
    "no bias": "fc1 has no bias",
    "twice": "is there twice",
    "cut": "is not a readable Keras file of weights",
    "junk": "is not a readable Keras file of weights (OSError)",
    "empty": "it holds no arrays",
}


@pytest.mark.parametrize(("name", "words"), WRONG.items(), ids=WRONG)
def test_anything_else_is_refused(pool: Pool, files: Path, name: str, words: str) -> None:
    path = files / f"{name}.h5"
    with pytest.raises(WeightsError) as refusal:
        pool.backend("tensorflow").read_tensors(path)
    assert words in str(refusal.value)
    assert str(path) in str(refusal.value)


def test_what_does_not_fit_is_listed(files: Path, tmp_path: Path, worker: Worker) -> None:
    """A body without its last layers cannot classify; what is no number cannot either."""
    named = ("predict", "--architecture", "vgg16", "--backend", "torch", "--weights")
    done = worker(*named, files / "notop.weights.h5", CAT, cwd=tmp_path)
    refused(done, 2, "missing 6: classifier.0.weight", "The network is vgg16")
    done = worker(*named, files / "nan.h5", CAT, cwd=tmp_path)
    refused(done, 2, "NaN or infinite values", "classifier.0.bias")
    done = worker(
        "predict", "--architecture", "resnet18", "--weights", files / "first.h5", CAT, cwd=tmp_path
    )
    refused(done, 2, "'resnet18'", "is a file of Keras, which is read for vgg16 and vgg19")


FULL = """
import json, os, sys
os.environ["KERAS_BACKEND"] = "tensorflow"
import keras
import numpy as np
from pathlib import Path
from keras.applications import vgg16, vgg19

name, file, photograph = sys.argv[1:]
module, build = (vgg16, vgg16.VGG16) if name == "vgg16" else (vgg19, vgg19.VGG19)
keras.utils.set_random_seed(5)
model = build(weights=None)
model.save_weights(file)
image = keras.utils.img_to_array(keras.utils.load_img(photograph, target_size=(224, 224)))
found = model(module.preprocess_input(image[None])).numpy()[0]
print(json.dumps(found.astype(float).tolist()))
"""


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("architecture", ["vgg16", "vgg19"])
def test_full_size_keras_files_answer_as_keras(
    tmp_path: Path, worker: Worker, architecture: str
) -> None:
    """Every probability of a photograph, each with the preprocessing of its own."""
    file = tmp_path / "vgg.weights.h5"
    expected = python(FULL, architecture, file, CAT, cwd=tmp_path)
    done = worker(
        "predict", "--architecture", architecture, "--weights", file, "--backend", "torch",
        "--device", "cpu", "--top", "1000", "--json", CAT, cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 0, done.err
    top = json.loads(done.out)[0]["top"]
    found = [guess["probability"] for guess in sorted(top, key=lambda guess: guess["class"])]
    assert np.abs(np.array(found) - expected).max() <= 1e-5
    assert np.abs(np.log(found) - np.log(expected)).max() <= 1e-4
