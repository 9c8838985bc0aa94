"""Other people's checkpoints: every published form is the same tensors, and what is wrong is named.

The folders are those of ``tests/published.py``.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import python
from photographs import MINILM
from safetensors.numpy import load_file

from paribus import weights
from paribus.architectures import build
from paribus.architectures.published import KERAS, TORCHVISION
from paribus.belongings import ImageProcessing
from paribus.checkpoints.heads import without_other_heads
from paribus.errors import SpecError, WeightsError
from paribus.pretrained import describe

CONFIG, WHOLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"


@pytest.mark.parametrize("form", ["shards", "old names"])
def test_a_checkpoint_in_pieces_or_under_older_names_is_the_same(
    published: Path, form: str
) -> None:
    same = weights.fingerprint(weights.load(published / "masked"))
    other = published / f"masked as {form}"
    assert len(list(other.glob("*.safetensors"))) == (7 if form == "shards" else 1)
    assert weights.fingerprint(weights.load(other)) == same


def test_a_pickle_and_the_modules_own_names_are_the_same_too(published: Path) -> None:
    for name, form in (("causal", "a pickle"), ("vit", "module names")):
        same = weights.fingerprint(weights.load(published / name))
        assert weights.fingerprint(weights.load(published / f"{name} as {form}")) == same


def test_sixteen_bit_floats_are_read_exactly(published: Path, tmp_path: Path) -> None:
    """Every bfloat16 is a float32 whose lower half is zero; it was rounded before it was saved."""
    exact = weights.load(published / "masked")
    found = weights.load(published / "masked as bfloat16")
    assert list(found) == list(exact)
    for name, array in found.items():
        assert array.dtype == np.float32
        assert not (array.view(np.uint32) & 0xFFFF).any()
        assert np.abs(array - exact[name]).max() <= np.abs(exact[name]).max() / 256
    halves = np.array([1.5, -65504, 2**-24], np.float16)
    weights.save(tmp_path / "half.safetensors", {"x": halves}, {})
    read = weights.load(tmp_path / "half.safetensors")["x"]
    assert read.dtype == np.float32
    assert read.tolist() == halves.tolist()


def test_another_tasks_head_is_left_alone(published: Path) -> None:
    """A pretrained body has more on top than a classifier wants, and only that is left out."""
    tensors = weights.load(MINILM)
    sizes = {name: v for name, v in describe(MINILM).model.items() if name != "architecture"}
    network = build("bert", sizes, (16,), 2)
    left = without_other_heads(network, tensors)
    assert {name for name in tensors if name not in left} == {
        "pooler.dense.weight", "pooler.dense.bias"
    }  # fmt: skip
    assert {name for name in network.tensors if name not in left} == {
        "classifier.weight", "classifier.bias"
    }  # fmt: skip
    masked = weights.load(published / "masked") | {"encoder.more": np.ones(1)}
    assert "encoder.more" in without_other_heads(network, masked)


Damage = Callable[[Path], None]


def _config(**changes: Any) -> Damage:
    def apply(folder: Path) -> None:
        known = json.loads((folder / CONFIG).read_text())
        kept = {**known, **changes}
        (folder / CONFIG).write_text(json.dumps({k: v for k, v in kept.items() if v != "gone"}))

    return apply


def _tensors(**changes: Any) -> Damage:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / WHOLE)
        for name, array in changes.items():
            if array is None:
                del tensors[name]
            else:
                tensors[name] = array
        weights.save(folder / WHOLE, tensors, {})

    return apply


def _index(**places: str) -> Damage:
    def apply(folder: Path) -> None:
        names = dict.fromkeys(load_file(folder / WHOLE), "one.safetensors")
        (folder / WHOLE).rename(folder / "one.safetensors")
        (folder / INDEX).write_text(json.dumps({"weight_map": {**names, **places}}))

    return apply


def _linked(name: str) -> Damage:
    def apply(folder: Path) -> None:
        outside = folder.parent / "outside"
        (folder / name).rename(outside)
        (folder / name).symlink_to(outside)

    return apply


def _text(name: str, text: str) -> Damage:
    return lambda folder: (folder / name).write_text(text) and None


def _header(change: Callable[[dict[str, Any]], Any], *, add: bytes = b"") -> Damage:
    """Rewrite the header of the safetensors file, and leave the values."""

    def apply(folder: Path) -> None:
        data = (folder / WHOLE).read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        values = data[8 + length :] + add
        (folder / WHOLE).write_bytes(struct.pack("<Q", len(text)) + text + values)

    return apply


def _cut(folder: Path) -> None:
    data = (folder / WHOLE).read_bytes()
    (folder / WHOLE).write_bytes(data[:-5])


WORDS, SCORE = "transformer.wte.weight", "score.weight"
WRONG: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "another model": (
        _config(model_type="bart"), ("model_type = 'bart' cannot be read", "Did you mean 'bert'?"),
    ),
    "no model type": (_config(model_type="gone"), ("model_type is missing",)),
    "another head": (
        _config(architectures=["GPT2DoubleHeadsModel"]), ("is a GPT2DoubleHeadsModel",),
    ),
    "unknown tensors": (
        _tensors(**{"transformer.h.0.attn.extra": np.ones(2, np.float32)}),
        ("tensors that no GPT2Model of paribus has: transformer.h.0.attn.extra",),
    ),
    "a tied weight that is not": (
        _tensors(**{"lm_head.weight": np.ones((40, 8), np.float32)}),
        ("lm_head.weight is not equal to wte.weight",),
    ),
    "twice": (_tensors(**{"wte.weight": np.ones((40, 8), np.float32)}), ("same tensor twice",)),
    "not a number": (
        _tensors(**{SCORE: np.full((3, 8), np.nan, np.float32)}),
        ("NaN or infinite values", SCORE),
    ),
    "integers": (_tensors(**{SCORE: np.ones((3, 8), np.int32)}), ("score.weight (int32)",)),
    "an index that leads away": (
        _index(**{WORDS: "../../../etc/passwd"}), ("'../../../etc/passwd'", "a plain name"),
    ),
    "an absolute index": (_index(**{WORDS: "/etc/passwd"}), ("'/etc/passwd'",)),
    "a hidden shard": (_index(**{WORDS: "..safetensors"}), ("'..safetensors'", "plain name")),
    "a missing shard": (
        _index(**{WORDS: "two.safetensors"}), ("has no readable two.safetensors",),
    ),
    "an index that lies": (
        _index(**{"transformer.no.weight": "one.safetensors"}),
        ("not in the shards it names: transformer.no.weight",),
    ),
    "an index of nothing": (
        lambda folder: (folder / WHOLE).rename(folder / INDEX).write_text("{}") and None,
        ("weight_map is missing",),
    ),
    "a link that leads out": (_linked(WHOLE), ("is a link that leads out of the folder",)),
    "a configuration that leads out": (_linked(CONFIG), ("config.json is a link that leads out",)),
    "cut off": (_cut, ("not a readable safetensors file", "its tensors end at byte")),
    "no JSON": (_text(CONFIG, "{"), ("config.json is not readable JSON",)),
    "a list": (_text(CONFIG, "[]"), ("expected a JSON object",)),
    "a key twice": (_text(CONFIG, '{"a": 1, "a": 2}'), ("'a' is there twice",)),
    "nested": (_text(CONFIG, "[" * 100_000), ("nested too deeply",)),
    "too large": (_text(CONFIG, " " * (17 * 2**20)), ("allowed: up to 16,777,216",)),
    "a header of all the memory": (
        lambda folder: (folder / WHOLE).write_bytes(struct.pack("<Q", 2**60)) and None,
        ("its header would have 1,152,921,504,606,846,976 bytes of 8",),
    ),
    "a tensor of all the memory": (
        _header(lambda header: header[SCORE].update(shape=[2**40, 2**20])), (f"{SCORE} of F32",),
    ),
    "a tensor past the end": (
        _header(lambda header: header[SCORE].update(data_offsets=[10**12, 10**12 + 96])),
        ("shares bytes with another tensor, or leaves some out",),
    ),
    "two tensors in one place": (
        _header(lambda header: header.update(more=header[SCORE])), ("more shares bytes",),
    ),
    "a negative size": (
        _header(lambda header: header[SCORE].update(shape=[-3, -8])), ("numbers of at least 0",),
    ),
    "bytes of nobody": (_header(lambda header: None, add=b"12"), ("tensors end at byte",)),
    "an odd dtype": (
        _header(lambda header: header[SCORE].update(dtype="F8_E4M3")), ("dtype 'F8_E4M3'", "F32"),
    ),
    "no weights": (lambda folder: (folder / WHOLE).unlink(), ("no weights that can be read",)),
    "nothing": (
        lambda folder: (folder / CONFIG).unlink(), ("neither weights.safetensors nor config.json",),
    ),
}  # fmt: skip


@pytest.fixture
def copied(published: Path, tmp_path: Path) -> Path:
    """A folder of its own with the GPT-2 that classifies."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in (CONFIG, WHOLE):
        shutil.copy(published / "gpt2" / name, folder)
    return folder


@pytest.mark.parametrize(("damage", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(copied: Path, damage: Damage, words: tuple[str, ...]) -> None:
    damage(copied)
    with pytest.raises(WeightsError) as refused:
        weights.load(copied)
    for word in words:
        assert word in str(refused.value)


def test_a_piece_of_a_tensor_that_is_missing_is_listed(published: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(published / "vit", tmp_path / "vit")
    key = "vit.encoder.layer.1.attention.attention.key.weight"
    _tensors(**{key: None})(folder)
    with pytest.raises(
        WeightsError, match=r"encoder_layer_1\.self_attention\.in_proj_weight, only"
    ):
        weights.load(folder)
    shutil.rmtree(folder)
    shutil.copytree(published / "vit", folder)
    _tensors(**{key: np.ones((8, 7), np.float32)})(folder)
    with pytest.raises(WeightsError, match=r"do not fit together: .*\(8, 8\), .*\(8, 7\)"):
        weights.load(folder)


HOSTILE = """
import json, os, pickle, sys
from pathlib import Path
import torch

class Hostile:
    def __reduce__(self):
        return os.system, (f"touch {sys.argv[1]}/ran",)

torch.save({"transformer.wte.weight": Hostile()}, Path(sys.argv[1]) / "pytorch_model.bin")
print(json.dumps(True))
"""


def test_a_pickle_that_wants_to_run_code_is_refused(copied: Path) -> None:
    (copied / WHOLE).unlink()
    assert python(HOSTILE, copied, cwd=copied)
    with pytest.raises(WeightsError, match=r"it asks for posix\.system, which could run code"):
        weights.load(copied)
    assert not (copied / "ran").exists()


def test_the_hubs_cache_is_read_without_a_network(copied: Path, tmp_path: Path) -> None:
    """Its snapshots are links into the same repository's blobs; a link further out is refused."""
    repository = tmp_path / "cache" / "models--somebody--small"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    for number, name in enumerate((CONFIG, WHOLE)):
        shutil.copy(copied / name, repository / "blobs" / str(number))
        (snapshot / name).symlink_to(Path("../../blobs") / str(number))
    program = """
import json, sys
from pathlib import Path
from paribus import weights
from paribus.errors import WeightsError
found = [weights.fingerprint(weights.load(Path("hub:somebody/small")))]
for name in ("hub:somebody/unknown", "hub:somebody", "hub:../x", "hub:somebody/small@../y"):
    try:
        weights.load(Path(name))
    except WeightsError as error:
        found.append(str(error))
print(json.dumps(found))
"""
    before = dict(os.environ)
    os.environ |= {"HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    try:
        same, *refusals = python(program, cwd=tmp_path)
    finally:
        os.environ.clear()
        os.environ |= before
    assert same == weights.fingerprint(weights.load(copied))
    assert weights.fingerprint(weights.load(snapshot)) == same
    assert "the hub cannot be reached, and the local cache does not have it" in refusals[0]
    assert "copy the model's folder here" in refusals[0]
    for refusal in refusals[1:]:
        assert "names no model; allowed: hub:owner/name" in refusal
    (snapshot / CONFIG).unlink()
    (snapshot / CONFIG).symlink_to(copied / CONFIG)
    with pytest.raises(WeightsError, match="leads out of the folder"):
        weights.load(snapshot)


def test_a_sentence_model_says_its_sizes_and_its_pooling() -> None:
    found = describe(MINILM)
    assert found.model == {
        "architecture": "bert", "vocabulary": 30522, "positions": 512, "layers": 6, "heads": 12,
        "hidden": 384, "intermediate": 1536, "gelu": "exact", "eps": 1e-12, "pooling": "mean",
    }  # fmt: skip
    assert found.tokenizer == MINILM / "tokenizer.json"
    assert (found.objective, found.classes, found.class_names) == (None, None, ())
    assert found.reads_tokens


def test_folders_say_what_they_are(published: Path) -> None:
    text = describe(published / "gpt2")
    assert text.model == {
        "architecture": "gpt2", "vocabulary": 40, "positions": 12, "layers": 2, "heads": 2,
        "hidden": 8, "intermediate": 32, "gelu": "tanh", "eps": 1e-5,
    }  # fmt: skip
    assert (text.objective, text.classes, text.class_names) == ("classification", 3, ())
    assert describe(published / "causal").objective == "causal_lm"
    assert describe(published / "masked").objective == "masked_lm"
    assert describe(published / "masked").model["gelu"] == "tanh"
    numbers = describe(published / "regression")
    assert (numbers.objective, numbers.classes) == ("regression", 2)

    vit = describe(published / "vit")
    assert vit.model == {
        "architecture": "vit", "patch": 16, "layers": 2, "heads": 2, "hidden": 8, "mlp": 12,
        "gelu": "exact", "eps": 1e-12,
    }  # fmt: skip
    assert vit.class_names == ("cat", "coffee", "palace")
    assert vit.input_shape == (3, 32, 32)
    half = (0.5, 0.5, 0.5)
    assert vit.image == ImageProcessing((32, 32), (32, 32), "bilinear", half, half)
    resnet = describe(published / "resnet")
    assert resnet.model == {"architecture": "resnet18"}
    assert resnet.class_names == ()
    assert resnet.image is not None
    assert (resnet.image.resize, resnet.image.crop) == (40, (32, 32))
    assert (resnet.image.interpolation, resnet.image.half) == ("bicubic", "down")


UNSUPPORTED: dict[str, tuple[str, dict[str, Any], str]] = {
    "relative": ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
    "relu": ("bert", {"hidden_act": "relu"}, 'hidden_act = "relu" is not supported'),
    "segments": ("bert", {"type_vocab_size": 1}, "type_vocab_size = 1 is not supported"),
    "decoder": ("bert", {"is_decoder": True}, "is_decoder = true"),
    "cross": ("gpt2", {"add_cross_attention": True}, "add_cross_attention = true"),
    "layer scale": ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse"),
    "no scale": ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights = false"),
    "two labels": ("gpt2", {"problem_type": "multi_label_classification"}, "problem_type"),
    "no bias": ("vit", {"qkv_bias": False}, "qkv_bias = false"),
    "stride": ("resnet", {"downsample_in_bottleneck": True}, "downsample_in_bottleneck = true"),
    "depths": ("resnet", {"depths": [1, 1, 1, 1]}, "depths = [1, 1, 1, 1]; expected those of"),
    "widths": ("resnet", {"hidden_sizes": [8, 8, 8, 8]}, "hidden_sizes = [8, 8, 8, 8]"),
    "text": ("gpt2", {"n_layer": "2"}, 'n_layer = "2"; expected a whole number'),
    "truth": ("gpt2", {"n_layer": True}, "n_layer = true; expected a whole number"),
    "negative": ("bert", {"hidden_size": -8}, "hidden_size = -8; expected a whole number"),
    "huge": ("bert", {"num_hidden_layers": 10**6}, "describes no bert that paribus can build: lay"),
    "heads": ("bert", {"num_attention_heads": 3}, "heads = 3 must divide hidden = 8"),
    "absent": ("bert", {"hidden_size": "gone"}, "hidden_size is missing"),
    "labels": ("gpt2", {"id2label": {"0": "a", "2": "b"}}, "a name for each of the numbers"),
    "a label": ("gpt2", {"id2label": {"0": "a", "1": 5}}, "id2label.1 = 5; expected a text"),
    "size": ("vit", {"image_size": 48}, "but the configuration says (3, 48, 48)"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "changes", "words"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_what_paribus_would_compute_otherwise_is_refused_by_name(
    published: Path, tmp_path: Path, name: str, changes: dict[str, Any], words: str
) -> None:
    for file in (published / name).glob("*.json"):
        shutil.copy(file, tmp_path)
    _config(**changes)(tmp_path)
    with pytest.raises(WeightsError) as refused:
        describe(tmp_path)
    assert words in str(refused.value)
    assert CONFIG in str(refused.value) or name == "vit"


HALF, IMAGENET = (0.5,) * 3, TORCHVISION
PROCESSORS: dict[str, tuple[dict[str, Any], ImageProcessing]] = {
    # The first published ViT: nothing but a side.
    "vit": (
        {"do_normalize": True, "do_resize": True, "size": 32, "image_mean": list(HALF),
         "image_std": list(HALF)},
        ImageProcessing((32, 32), (32, 32), "bilinear", HALF, HALF),
    ),
    # The first published ResNets: a share of the side that is cut out.
    "convnext": (
        {"feature_extractor_type": "ConvNextFeatureExtractor", "crop_pct": 0.875, "size": 32,
         "image_mean": list(IMAGENET.mean), "image_std": list(IMAGENET.std), "resample": 3},
        replace(IMAGENET, resize=36, crop=(32, 32), interpolation="bicubic", half="down"),
    ),
    "a size of the shorter side": (
        {"image_processor_type": "BitImageProcessorFast", "size": {"shortest_edge": 40},
         "crop_size": {"height": 32, "width": 32}, "resample": 2, "image_mean": 0.5,
         "image_std": 0.5},
        ImageProcessing(40, (32, 32), "bilinear", HALF, HALF),
    ),
    "values up to 255": (
        {"image_processor_type": "ViTImageProcessor", "size": 32, "do_rescale": False,
         "image_mean": [127.5] * 3, "image_std": [127.5] * 3, "resample": 0},
        ImageProcessing((32, 32), (32, 32), "nearest", HALF, HALF),
    ),
    "not normalised": (
        {"image_processor_type": "DeiTImageProcessor", "size": [40, 36], "crop_size": 32,
         "do_normalize": False, "rescale_factor": 1 / 255},
        ImageProcessing((40, 36), (32, 32), "bicubic", (0.0,) * 3, (1.0,) * 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("written", "expected"), PROCESSORS.values(), ids=PROCESSORS)
def test_preprocessing_is_read_in_its_published_forms(
    published: Path, tmp_path: Path, written: dict[str, Any], expected: ImageProcessing
) -> None:
    shutil.copy(published / "vit" / CONFIG, tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(written))
    assert describe(tmp_path).image == expected


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another class": ({"image_processor_type": "SamImageProcessor"}, "'SamImageProcessor'"),
    "not resized": ({"do_resize": False}, "do_resize = false is not supported"),
    "padded": ({"do_pad": True}, "do_pad = true is not supported"),
    "resampled": ({"resample": 5}, "resample = 5 is not supported; allowed: 0, 1, 2, 3"),
    "any size": ({"size": {"shortest_edge": 32}}, "without a centre crop"),
    "longest": ({"size": {"longest_edge": 32}}, 'size = {"longest_edge": 32}; expected one number'),
    "too small": ({"do_center_crop": True, "crop_size": 64}, "crop_size (64, 64) is larger"),
    "gigantic": ({"size": 10**9}, "size = 1000000000; expected a whole number from 1 to 8192"),
    "flat": ({"image_std": [0, 1, 1]}, "image_std = [0, 1, 1]; expected numbers above 0"),
    "four": ({"image_mean": [0] * 4}, "image_mean = [0, 0, 0, 0]; expected as many numbers"),
    "words": ({"image_mean": "imagenet"}, 'image_mean = "imagenet"; expected a finite number'),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), REFUSED.values(), ids=REFUSED)
def test_other_preprocessing_is_refused_by_name(
    published: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    shutil.copy(published / "vit" / CONFIG, tmp_path)
    written = {"image_processor_type": "ViTImageProcessor", "size": 32, **changes}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(written))
    with pytest.raises(WeightsError) as refused:
        describe(tmp_path)
    assert words in str(refused.value)
    assert "preprocessor_config.json: " in str(refused.value)


def test_sentence_models_of_other_kinds_are_refused(tmp_path: Path) -> None:
    for name in (CONFIG, "modules.json", "1_Pooling/config.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(MINILM / name, tmp_path / name)
    modules = json.loads((tmp_path / "modules.json").read_text())
    pooling = json.loads((tmp_path / "1_Pooling" / CONFIG).read_text())

    def refusal(modules: Any, pooling: Any) -> str:
        (tmp_path / "modules.json").write_text(json.dumps(modules))
        (tmp_path / "1_Pooling" / CONFIG).write_text(json.dumps(pooling))
        with pytest.raises(WeightsError) as refused:
            describe(tmp_path)
        return str(refused.value)

    both = {**pooling, "pooling_mode_cls_token": True}
    said = "pooling_mode_cls_token and pooling_mode_mean_tokens is not supported"
    assert said in refusal(modules, both)
    largest = {**pooling, "pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": True}
    assert "pooling_mode_max_tokens is not supported" in refusal(modules, largest)
    dense = [*modules, {"type": "sentence_transformers.models.Dense", "path": "3_Dense"}]
    assert 'type = "sentence_transformers.models.Dense"' in refusal(dense, pooling)
    away = [{**modules[1], "path": "../../.."}]
    assert "names '../../..'" in refusal(away, pooling)


def test_a_file_says_nothing_until_its_architecture_is_named(tmp_path: Path) -> None:
    file, keras = tmp_path / "some.pth", tmp_path / "some.weights.h5"
    for path in (file, keras):
        path.write_bytes(b"not looked at")
    assert describe(file).model == {}
    assert describe(file).image is None
    named = describe(file, "resnet50")
    assert named.model == {"architecture": "resnet50"}
    assert named.image == TORCHVISION
    assert describe(file, "cnn").image is None
    assert describe(keras, "vgg19").image == KERAS["vgg19"]
    with pytest.raises(SpecError, match=r"file of Keras, which is read for vgg16 and vgg19"):
        describe(keras, "resnet50")
    with pytest.raises(SpecError, match=r"unknown; .* Did you mean 'resnet50'\?"):
        describe(file, "resnet5")
    with pytest.raises(SpecError, match="says that it is 'bert'; leave the architecture out"):
        describe(MINILM, "gpt2")
    with pytest.raises(WeightsError, match=r"no weights at .*none\.pth; allowed: a run folder"):
        describe(tmp_path / "none.pth")


def test_kerass_vgg_subtracts_the_mean_colour_and_nothing_else() -> None:
    """In units where white is 1, the standard deviation is one of 255 levels."""
    image = KERAS["vgg16"]
    pixel = np.array([200.0, 100.0, 50.0])
    found = (pixel / 255 - np.array(image.mean)) / np.array(image.std)
    # preprocess_input of keras.applications, whose order is blue, green, red.
    assert found[::-1] == pytest.approx([50 - 103.939, 100 - 116.779, 200 - 123.68], abs=1e-12)
    assert (image.resize, image.crop) == ((224, 224), (224, 224))
