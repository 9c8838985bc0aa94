"""What a user gets from a network that drops: models whose own dropout is set as published ones'.

Each program runs in a process of its own, imports one framework, and prints what it found.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dropping
import pytest
from command import python

from paribus.pretrained import describe
from paribus.remote.values import from_network

TORCHVISION = ("vgg11_bn", "mobilenet_v2", "vit", "resnet18")
WRAPPED = ("mlp", "cnn", "mean bert")

# Opens a session on each network, computes with it, and looks at what `native` returns.
LOOK = """
import json, sys
from importlib import import_module
from pathlib import Path
import cases, dropping

name, folder, names = sys.argv[1], Path(sys.argv[2]), sys.argv[3].split(",")
backend = import_module(f"paribus.backends.{name}").backend
found = {}
for key in names:
    network = dropping.NETWORKS[key]
    with backend.open(network, cases.task(network), device="cpu", precision="float64",
                      numerics="strict") as session:
        session.import_weights(cases.tensors(network))
        handle = session.put(*dropping.data(network))
        before = session.gradients(handle, dropping.plan(network, 1, 1, 8))[0] if SMALL else 0.0
        model = session.native()
        session.save_native(folder / name / key)
        # The session drops on as if nothing had been taken out of it.
        after = session.gradients(handle, dropping.plan(network, 1, 1, 8))[0] if SMALL else 0.0
        assert before == after
    found[key] = LOOK(network, model, folder / name / key)
print(json.dumps(found))
"""

TORCH = """
SMALL = True
import torch
from torch import nn

def LOOK(network, model, saved):
    modules = list(model.modules())
    config = getattr(model, "config", None)
    return {
        "kind": type(model).__module__.split(".")[0],
        "dropout": sorted(m.p for m in modules if type(m) is nn.Dropout and m.p > 0),
        "attention": [m.dropout for m in modules if isinstance(m, nn.MultiheadAttention)],
        "depth": [m.p for m in modules if type(m).__name__ == "StochasticDepth"],
        "odd": [type(m).__name__ for m in modules if m._forward_hooks or "forward" in vars(m)],
        "config": None if config is None else config.to_dict(),
        "attends": None if config is None else config._attn_implementation,
    }
"""

KERAS = """
# Its sessions do not compute with the Keras model, and tracing takes long.
SMALL = False

def LOOK(network, model, saved):
    import keras
    import numpy as np
    again = keras.saving.load_model(saved / "model.keras")
    x, _ = dropping.data(network)
    if network.reads_tokens:
        given = {"input_ids": np.maximum(x, 0), "attention_mask": (x >= 0).astype("int32"),
                 "token_type_ids": np.zeros_like(x)}
        given = {tensor.name: given[tensor.name] for tensor in again.inputs}
    else:
        given = x.astype("float64")
    def differs(a, b):
        return bool(np.abs(np.asarray(a) - np.asarray(b)).max() > 1e-9)
    evaluated = differs(again(given), again(given)) or differs(model(given), again(given))
    return {
        "dropout": [(layer.rate, layer.noise_shape) for layer in again.layers
                    if isinstance(layer, keras.layers.Dropout)],
        "trained": differs(again(given, training=True), again(given, training=True)),
        "evaluated": evaluated,
    }
"""


def _look(program: str, backend: str, folder: Path, names: tuple[str, ...]) -> dict[str, Any]:
    tests = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
    found: dict[str, Any] = python(
        tests + program + LOOK, backend, folder, ",".join(names), cwd=folder
    )
    return found


def _dropping(name: str, op: str) -> list[float]:
    network = dropping.NETWORKS[name]
    return [node.attributes["p"] for node in network.nodes if node.op == op]


def test_torchvision_s_models_have_their_own_dropout_again(tmp_path: Path) -> None:
    """As many as the network has nodes, and nothing of a session is left in them."""
    names = (*TORCHVISION, "mlp", "bert", "wide vit")
    found = _look(TORCH, "torch", tmp_path, names)
    for name in names:
        seen = found[name]
        assert seen["odd"] == []
        assert seen["dropout"] == _dropping(name, "dropout"), name
        if name in TORCHVISION:
            assert seen["kind"] == "torchvision"
            # They have no place for it, as published.
            assert seen["depth"] == []
    assert found["vit"]["attention"] == [0.15, 0.15]
    assert found["wide vit"]["attention"] == [0.15, 0.15]
    assert found["wide vit"]["depth"] == _dropping("wide vit", "stochastic_depth") == [
        0.2, 0.2, 0.4, 0.4
    ]  # fmt: skip


def test_transformers_models_have_it_in_their_configuration(tmp_path: Path) -> None:
    names = ("bert", "masked bert", "gpt2", "causal gpt2", "vit", "resnet18", "mlp")
    found = _look(TORCH, "huggingface", tmp_path, names)
    saved = {
        name: json.loads((tmp_path / "huggingface" / name / "config.json").read_text())
        for name in names
    }
    for name in names:
        assert found[name]["odd"] == []
        assert found[name]["attends"] == "sdpa" or name in ("mlp", "resnet18")
        assert found[name]["kind"] == ("paribus" if name == "mlp" else "transformers")
    for config in (*(found[name]["config"] for name in names[:2]), saved["bert"]):
        assert config["hidden_dropout_prob"] == 0.1
        assert config["attention_probs_dropout_prob"] == 0.15
    for config in (found["gpt2"]["config"], saved["causal gpt2"]):
        assert (config["embd_pdrop"], config["resid_pdrop"], config["attn_pdrop"]) == (
            0.1, 0.1, 0.15
        )  # fmt: skip
    assert saved["vit"]["hidden_dropout_prob"] == 0.1
    assert saved["vit"]["attention_probs_dropout_prob"] == 0.15
    assert saved["mlp"]["parameters"]["dropout"] == 0.1
    for name in ("bert", "gpt2", "causal gpt2", "mlp"):
        # BERT's and GPT-2's attention has a module for its probability, which counts too.
        shares = [p for p in found[name]["dropout"] if p == 0.15]
        assert [p for p in found[name]["dropout"] if p != 0.15] == _dropping(name, "dropout")
        assert len(shares) == (0 if name == "mlp" else 2)
    # What it was trained with is no business of who trains it on.
    assert "dropout" not in describe(tmp_path / "huggingface" / "bert").model


def test_keras_models_drop_in_training_with_stock_layers(tmp_path: Path) -> None:
    """A saved one opens without paribus, drops in training mode, and in evaluation nothing."""
    names = ("mlp", "cnn", "resnet18", "vit", "bert", "causal gpt2")
    found = _look(KERAS, "tensorflow", tmp_path, names)
    for name in names:
        nodes = dropping.NETWORKS[name]
        whole = _dropping(name, "stochastic_depth")
        singles = _dropping(name, "dropout")
        shares = [n.attributes["dropout"] for n in nodes.nodes if "dropout" in n.attributes]
        layers = found[name]["dropout"]
        assert sorted(rate for rate, shape in layers if shape) == sorted(whole)
        assert sorted(rate for rate, shape in layers if not shape) == sorted(singles + shares)
        assert found[name]["trained"], name
        assert not found[name]["evaluated"], name


# Dropout of images, which no architecture has, but the operation is defined for.
IMAGES = """
import json, sys
from importlib import import_module
import cases
import numpy as np
from paribus import noise, reference
from paribus.architectures.builder import Builder
from paribus.architectures.initializers import fan_in_uniform, zeros

build = Builder("cnn", (2, 5, 3), "classification")
build.stage = "body"
node = build.conv2d("conv", "input", 3, 3, padding=1, weight=fan_in_uniform(18), bias=zeros())
node = build.dropout("dropout", node, 0.25)
node = build.flatten("flatten", node)
build.stage = "head"
build.linear("fc", node, 3, weight=fan_in_uniform(45), bias=zeros())
network = build.build({}, 3)
x, y = cases.stored(network, 8), cases.labels(network, 8)
plan = cases.train_plan(np.arange(8)[None, None])
keys = noise.keys(0, "images", 0, 1, 1)
inputs = reference.preprocess(x, plan.preprocess)
tensors = cases.tensors(network)
outputs, _ = reference.forward(network, tensors, inputs, training=True, noise=keys[0])
expected = reference.cross_entropy(outputs, y).mean()
backend = import_module(f"paribus.backends.{sys.argv[1]}").backend
with backend.open(network, cases.task(network), device="cpu", precision="float64",
                  numerics="strict") as session:
    session.import_weights(tensors)
    from dataclasses import replace
    loss, _ = session.gradients(session.put(x, y), replace(plan, noise=keys))
print(json.dumps([loss, expected]))
"""


@pytest.mark.parametrize("backend", ["torch", "tensorflow"])
def test_images_are_dropped_in_the_canonical_order(backend: str, tmp_path: Path) -> None:
    """By channel, row and column, whatever order a backend keeps them in."""
    tests = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
    loss, expected = python(tests + IMAGES, backend, cwd=tmp_path)
    assert loss == pytest.approx(expected, rel=1e-12)


def test_parameters_cross_to_another_process() -> None:
    """What a child rebuilds drops at the same places."""
    from paribus.remote.values import to_network

    for network in dropping.NETWORKS.values():
        values = json.loads(json.dumps(from_network(network)))
        assert to_network(values).noisy == network.noisy
