"""ONNX files against the definitions: what onnxruntime computes is what a network is."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cases
import dropping
import numpy as np
import numpy.typing as npt
import onnx
import pytest

from paribus import draws, reference
from paribus.architectures import ARCHITECTURES, INPUT, Initializer, Network, build
from paribus.architectures.builder import Builder
from paribus.belongings import Belongings, ImageProcessing
from paribus.errors import RunError, WeightsError
from paribus.onnx import check, save, write
from paribus.onnx.operations import OPERATIONS, translate
from paribus.plan import Preprocess

Array = npt.NDArray[Any]

# float32 through up to 50 layers; measured up to 8e-7.
TOLERANCE = 1e-5


def _pooled(height: int, width: int, size: int) -> Network:
    """Return a network of adaptive pooling; bins overlap wherever ``size`` does not divide."""
    build = Builder("cnn", (2, height, width), "classification")
    build.stage = "head"
    node = build.flatten("flatten", build.adaptive_avg_pool2d("pool", INPUT, size))
    drawn = Initializer("normal", 0.1)
    build.linear("fc", node, 3, weight=drawn, bias=drawn)
    return build.build({}, 3)


VALUES: dict[str, Network] = {
    "cnn": cases.CNN,
    "cnn average": cases.PLAIN,
    "mlp": cases.MLP,
    "mlp of images": build("mlp", {"hidden": [5]}, (2, 8, 6), 3),
    "mlp regression": build("mlp", {"hidden": [5]}, (4,), 2, "regression"),
    "resnet18": cases.RESNET,
    "vgg11_bn": cases.VGG,
    "vgg11_bn, overlapping bins": build("vgg11_bn", {"hidden": 12}, (3, 64, 96), 3),
    "many bins": _pooled(9, 10, 7),
    "as many bins as pixels": _pooled(4, 4, 4),
    "mobilenet_v2": cases.MOBILENET,
    "vit": cases.VIT,
    "vit, not square, tanh": cases.WIDE_VIT,
}
TEXTS: dict[str, Network] = {
    "bert": cases.BERT,
    "bert mean": cases.MEAN_BERT,
    "bert masked_lm": cases.MASKED_BERT,
    "bert regression": build("bert", cases.WORDS, (cases.LENGTH,), 2, "regression"),
    "gpt2": cases.GPT2,
    "gpt2 causal_lm": cases.CAUSAL_GPT2,
}


def _inputs(tokens: Array, padding: int = 0) -> dict[str, Array]:
    """Return the inputs of a file for paribus' own tokens with segments [n, tokens, 2]."""
    numbers, real = tokens[..., 0].astype(np.int64), tokens[..., 0] >= 0
    return {
        "input_ids": np.where(real, numbers, padding),
        "attention_mask": real.astype(np.int64),
        "token_type_ids": tokens[..., 1].astype(np.int64),
    }


def _tokens(network: Network, count: int, length: int, seed: int = 0) -> Array:
    """Return texts of different lengths, the first one full: int64 [count, length, 2]."""
    numbers = draws.integers(seed, "texts", 0, (count, length), network.parameters["vocabulary"])
    lengths = 1 + draws.integers(seed, "lengths", 0, (count,), length)
    lengths[0] = length
    numbers[np.arange(length) >= lengths[:, None]] = -1
    segments = (np.arange(length) >= 2) & (numbers >= 0)
    return np.stack([numbers, segments], axis=-1)


@pytest.mark.parametrize("name", VALUES)
def test_images_and_tables(name: str, tmp_path: Path) -> None:
    network = VALUES[name]
    tensors = cases.tensors(network)
    path = write(network, tensors, tmp_path / "model.onnx")
    table = len(network.input_shape) == 1
    for count in (1, 3):
        drawn = draws.normal(count, "x", 0, (count, *network.input_shape)).astype(np.float32)
        expected, _ = reference.forward(network, tensors, drawn)
        found = check(path, {"features" if table else "pixel_values": drawn})
        assert list(found) == ["values" if network.objective == "regression" else "logits"]
        assert cases.distance(next(iter(found.values())), expected) <= TOLERANCE


@pytest.mark.parametrize("name", TEXTS)
def test_texts(name: str, tmp_path: Path) -> None:
    network = TEXTS[name]
    tensors = cases.tensors(network)
    path = write(network, tensors, tmp_path / "model.onnx")
    # 12: as many tokens as there are positions, which is more than the network was trained for.
    for count, length in ((1, cases.LENGTH), (3, 5), (4, 12), (2, 1)):
        tokens = _tokens(network, count, length, seed=count)
        expected, _ = reference.forward(network, tensors, tokens)
        (found,) = check(path, _inputs(tokens)).values()
        if network.objective in ("masked_lm", "causal_lm"):
            real = tokens[..., 0] >= 0
            assert found.shape == (count, length, network.classes)
            found, expected = found[real], expected[real]
        assert cases.distance(found, expected) <= TOLERANCE


@pytest.mark.parametrize("name", TEXTS)
def test_nothing_of_the_padding_reaches_an_output(name: str, tmp_path: Path) -> None:
    network = TEXTS[name]
    path = write(network, cases.tensors(network), tmp_path / "model.onnx")
    tokens = _tokens(network, 4, cases.LENGTH)
    left, right = (
        next(iter(check(path, _inputs(tokens, padding)).values())) for padding in (0, 33)
    )
    if network.objective in ("masked_lm", "causal_lm"):
        real = tokens[..., 0] >= 0
        left, right = left[real], right[real]
    assert np.array_equal(left, right)


def _small(name: str) -> list[Network]:
    """Return an architecture for everything that it can be trained for, of little height."""
    section = ARCHITECTURES[name]
    if section.reads == "values":
        parameters: dict[str, Any] = {"patch": 32} if name == "vit" else {}
        return [build(name, parameters, (3, 64, 64), 5)]
    sizes = cases.WORDS
    variants = [{**sizes, "pooling": "mean"}] if "pooling" in section.model_fields else []
    return [
        build(name, parameters, (8,), 40, objective)
        for objective in section.objectives
        for parameters in (sizes, *variants)
    ]


def test_every_architecture_is_translated_with_all_its_tensors() -> None:
    networks = [network for name in ARCHITECTURES for network in _small(name)]
    for network in networks:
        assert set(translate(network).weights.values()) == set(network.tensors)
    operations = {node.op for network in networks for node in network.nodes}
    assert operations | {"dropout", "stochastic_depth"} == set(OPERATIONS)
    named = {*reference.OPERATIONS, *reference.DROPPING, "batch_norm", "shared_linear"}
    assert set(OPERATIONS) == named


@pytest.mark.parametrize("name", ["cnn", "vgg11_bn", "resnet18", "vit", "bert", "causal gpt2"])
def test_what_drops_in_training_is_nothing_in_a_file(name: str, tmp_path: Path) -> None:
    """The file of a network without it, which has the same tensors, to the byte."""
    network = dropping.NETWORKS[name]
    off = dict.fromkeys(("dropout", "attention_dropout", "stochastic_depth"), 0.0)
    parameters = {key: off.get(key, value) for key, value in network.parameters.items()}
    plain = build(network.architecture, parameters, network.input_shape, network.classes,
                  network.objective)  # fmt: skip
    assert network.noisy
    assert not plain.noisy
    tensors = cases.tensors(network)
    graphs = []
    for number, written in enumerate((network, plain)):
        path = write(written, tensors, tmp_path / f"{number}.onnx")
        graphs.append(onnx.load(path).graph.SerializeToString(deterministic=True))
    assert graphs[0] == graphs[1]


def _dimensions(value: onnx.ValueInfoProto) -> tuple[str, int, tuple[str | int, ...]]:
    sides = value.type.tensor_type.shape.dim
    shape = tuple(side.dim_param or side.dim_value for side in sides)
    return value.name, value.type.tensor_type.elem_type, shape


FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
IDS, MASK, TYPES = (
    (name, INT64, ("batch", "tokens")) for name in ("input_ids", "attention_mask", "token_type_ids")
)


@pytest.mark.parametrize(
    ("network", "inputs", "output"),
    [
        (cases.CNN, [("pixel_values", FLOAT, ("batch", 2, 8, 8))], ("logits", ("batch", 3))),
        (cases.MLP, [("features", FLOAT, ("batch", 6))], ("logits", ("batch", 3))),
        (cases.BERT, [IDS, MASK, TYPES], ("logits", ("batch", 3))),
        (TEXTS["bert regression"], [IDS, MASK, TYPES], ("values", ("batch", 2))),
        (cases.MASKED_BERT, [IDS, MASK, TYPES], ("logits", ("batch", "tokens", 40))),
        (cases.GPT2, [IDS, MASK], ("logits", ("batch", 3))),
        (cases.CAUSAL_GPT2, [IDS], ("logits", ("batch", "tokens", 40))),
    ],
    ids=["images", "table", "bert", "regression", "masked_lm", "gpt2", "causal_lm"],
)
def test_inputs_are_those_that_are_read(
    network: Network, inputs: list[Any], output: tuple[str, Any], tmp_path: Path
) -> None:
    model = onnx.load(write(network, cases.tensors(network), tmp_path / "model.onnx"))
    assert [_dimensions(value) for value in model.graph.input] == inputs
    name, shape = output
    assert [_dimensions(value) for value in model.graph.output] == [(name, FLOAT, shape)]


def test_a_file_says_what_it_is(tmp_path: Path) -> None:
    image = ImageProcessing((9, 9), (8, 8), "bicubic", (0.1, 0.2), (0.3, 0.4))
    belongings = Belongings(("Katze", "犬", "<x>"), image, None, 7)
    preprocess = Preprocess((0.5, 2.0), (1.0, 0.0))
    path = tmp_path / "new" / "model.onnx"
    write(cases.CNN, cases.tensors(cases.CNN), path, belongings, preprocess=preprocess)
    model = onnx.load(path)
    assert (model.producer_name, model.producer_version) == ("paribus", version("paribus"))
    # What the oldest onnxruntime that is allowed reads: 1.17.
    assert model.ir_version <= 9
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    found = {entry.key: entry.value for entry in model.metadata_props}
    assert found.pop("architecture") == "cnn"
    assert found.pop("objective") == "classification"
    assert {key: json.loads(value) for key, value in found.items()} == {
        "class_names": ["Katze", "犬", "<x>"],
        "image": {
            "resize": [9, 9], "crop": [8, 8], "interpolation": "bicubic",
            "mean": [0.1, 0.2], "std": [0.3, 0.4], "half": "down",
        },
        "preprocess": {"scale": [0.5, 2.0], "shift": [1.0, 0.0]},
        "length": 7,
    }  # fmt: skip


@pytest.mark.parametrize("network", [cases.VIT, cases.CAUSAL_GPT2], ids=["vit", "gpt2"])
def test_weights_keep_their_canonical_names(network: Network, tmp_path: Path) -> None:
    tensors = cases.tensors(network)
    model = onnx.load(write(network, tensors, tmp_path / "model.onnx"))
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    for name, tensor in tensors.items():
        transposed = stored.get(f"{name}.transposed")
        found = stored[name] if transposed is None else transposed.T
        assert np.array_equal(found, tensor.astype(np.float32)), name


@pytest.mark.parametrize("name", ["bert masked_lm", "gpt2"])
def test_large_weights_are_beside_the_file(name: str, tmp_path: Path) -> None:
    network = TEXTS[name]
    tensors = cases.tensors(network)
    inputs = _inputs(_tokens(network, 3, cases.LENGTH))
    expected = check(write(network, tensors, tmp_path / "one.onnx"), inputs)
    folder = tmp_path / "two"
    save(network, tensors, folder / "model.onnx", limit=1000)
    assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "model.onnx.data"]
    weights = sum(tensor.size * 4 for tensor in tensors.values())
    assert (folder / "model.onnx.data").stat().st_size >= weights
    assert weights > 1000 + (folder / "model.onnx").stat().st_size / 4
    # Both may be moved together, because the one names the other without a folder.
    folder.rename(tmp_path / "moved")
    found = check(tmp_path / "moved" / "model.onnx", inputs)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def _with(**values: float) -> dict[str, Array]:
    """Return the tensors of ``cases.MLP`` with some of them constant, ``__`` for a dot."""
    tensors = cases.tensors(cases.MLP)
    for key, value in values.items():
        name = key.replace("__", ".")
        tensors[name] = np.full_like(tensors[name], value)
    return tensors


def _without(name: str) -> dict[str, Array]:
    return {key: value for key, value in cases.tensors(cases.MLP).items() if key != name}


@pytest.mark.parametrize(
    ("tensors", "kind", "words"),
    [
        (_without("fc.bias"), WeightsError, "missing 1: fc.bias"),
        (_with(fc__bias=1e39), WeightsError, "fc.bias has values that are not finite as float32"),
        (_with(hidden__1__bias=9.0, fc__weight=3e38), RunError, "logits are NaN or infinite"),
    ],
    ids=["missing", "too large", "overflow"],
)
def test_what_cannot_be_used_is_not_written(
    tensors: dict[str, Array], kind: type[Exception], words: str, tmp_path: Path
) -> None:
    path = save(cases.CNN, cases.tensors(cases.CNN), tmp_path / "model.onnx")
    before = path.read_bytes()
    with pytest.raises(kind, match=words):
        save(cases.MLP, tensors, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_the_same_every_time(tmp_path: Path) -> None:
    tensors = cases.tensors(cases.BERT)
    first, second = (
        write(cases.BERT, tensors, tmp_path / name).read_bytes() for name in ("a", "b")
    )
    assert first == second


def test_what_onnxruntime_refuses_is_said_in_words(tmp_path: Path) -> None:
    path = write(cases.MLP, cases.tensors(cases.MLP), tmp_path / "model.onnx")
    with pytest.raises(RunError, match=r"cannot execute .*model\.onnx.*features"):
        check(path, {"features": np.zeros((1, 7), dtype=np.float32)})
    path.write_bytes(b"this is no model")
    with pytest.raises(RunError, match=r"cannot execute .*model\.onnx"):
        check(path, {})
