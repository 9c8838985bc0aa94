"""PyTorch's linear layers by oneDNN, as on processors of AMD: the same numbers, ordinary modules.

Each part decides for itself that this is such a processor; oneDNN computes the same on others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command import python

# Of each shape: the largest difference of outputs and gradients from PyTorch's own product.
ALONE = """
import json
import torch
import torch.nn.functional as F
from paribus.backends.torch import dense

found, shapes, calls, product = {"here": dense.mkl_is_slow()}, {}, [], dense.product
dense.product = lambda *given: calls.append(1) or product(*given)
dense.mkl_is_slow = lambda: True
for shape, outputs, biased, turned in (
    ((40, 256), 256, True, False), ((9, 33, 128), 512, False, False), ((300, 512), 70, True, True),
    ((16, 64, 128), 96, True, False), ((1056, 128), 64, True, True), ((1030, 64), 64, True, False),
):
    torch.manual_seed(0)
    size = (shape[-1], outputs) if turned else (outputs, shape[-1])
    values = [torch.randn(shape), torch.randn(size), torch.randn(outputs)]
    results = []
    calls.clear()
    for function, wide in ((dense.linear, False), (F.linear, False), (F.linear, True)):
        x, weight, bias = [
            (value.double() if wide else value.clone()).requires_grad_() for value in values
        ]
        y = function(x, weight.t() if turned else weight, bias if biased else None)
        y = y.view(y.shape).add_(0.0)  # as a sum in place does
        (y * torch.arange(y.numel()).view(y.shape).remainder(7)).sum().backward()
        results.append([y, x.grad, weight.grad, *([bias.grad] if biased else [])])
    ours, own, exact = results
    shapes[str(shape)] = [
        dense.suits(*[value.clone().requires_grad_() for value in values[:2]]),
        max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, exact)),
        max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(own, exact)),
        len(calls),
    ]
found["shapes"] = shapes

torch.manual_seed(0)
x, weight, bias = torch.randn(700, 384), torch.randn(256, 384), torch.randn(256)
whole = dense.linear(x, weight, bias)
found["rows"] = all(
    dense.linear(x[a:b], weight, bias).equal(whole[a:b])
    for a, b in ((0, 2), (3, 6), (9, 17), (31, 64), (20, 520), (1, 700))
)
free, wide = weight.clone().requires_grad_(), weight.double()
found["suits"] = {
    "frozen": dense.suits(x[:2], weight), "frozen, small": dense.suits(x, weight[:128]),
    "few rows": dense.suits(x[:2], free), "float64": dense.suits(x.double(), wide),
    "nothing": dense.suits(x[:0], weight),
}
with torch.autocast("cpu", torch.bfloat16):
    y = dense.linear(x, free, bias)
y.float().sum().backward()
found["autocast"] = [str(y.dtype), str(free.grad.dtype)]

# One product for many weights: never other bits than a batched one.
torch.set_num_threads(1)
many = {}
for size in ((40, 64, 64), (64, 384, 64)):
    outputs, inputs, rows = size
    weight, x = torch.randn(40, outputs, inputs), torch.randn(rows, inputs)
    shared = x.expand(40, -1, -1)
    one = dense.of_many(shared, weight)
    many[str(size)] = [
        one is not None, one is None or one.equal(torch.bmm(weight, shared.transpose(1, 2))),
    ]
refused = [(shared.contiguous(), weight), (shared[:1], weight[:1, :2]),
           (shared.double(), weight.double())]
found["many"] = many
found["refused"] = [dense.of_many(*pair) is None for pair in refused]
dense.mkl_is_slow = lambda: False
found["refused"].append(dense.of_many(shared, weight) is None)
found["suits"]["another processor"] = dense.suits(x, weight)
print(json.dumps(found))
"""

# Which of oneDNN's programs compute products of factors with gaps in memory, and without any; and
# how far apart the results are.
GAPS = """
import json
import os
import torch
from paribus.backends.torch import dense

torch.manual_seed(0)
texts = torch.randn(32, 9, 256)
first, rows, matrix = texts[:, 0], torch.randn(32, 256), torch.randn(256, 512)
with_gaps = {"rows": (rows, first), "across": (rows.t(), first.t()),
             "matrix": (rows, matrix[:, :256]), "turned": (rows, matrix[:, ::2].t()),
             "first": (first, matrix[:, 256:].contiguous())}
found, told, screen = {}, os.open("told", os.O_CREAT | os.O_RDWR), os.dup(1)
for name, (x, weight) in with_gaps.items():
    without = x.contiguous(), weight.contiguous()
    programs, results = [], []
    for pair in ((x, weight), without):
        os.ftruncate(told, 0)
        os.lseek(told, 0, os.SEEK_SET)
        os.dup2(told, 1)
        with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
            results.append(dense.product(*pair))
        os.fsync(1)
        os.dup2(screen, 1)
        lines = [line.split(",") for line in open("told") if ",exec," in line]
        programs.append([line[6] for line in lines if line[5] == "inner_product"])
    apart = float((results[0] - results[1]).abs().max() / results[1].abs().max())
    found[name] = [*programs, apart]
print(json.dumps(found))
"""

# What a session computes with lent layers, beside one that has none, and what it leaves of them.
SESSIONS = """
import json
import numpy as np
import torch
from paribus import architectures, registry, weights
from paribus.adapter import Task
from paribus.backends.torch import dense
from paribus.plan import EvalPlan, Preprocess, TrainPlan

BERT = {"vocabulary": 40, "layers": 1, "heads": 2, "hidden": 128, "intermediate": 256}
NETWORKS = {
    "mlp": ({"hidden": [256, 256]}, (64,), "classification"),
    "resnet18": ({}, (3, 16, 16), "classification"),
    "bert": (BERT, (16,), "classification"),
    "vit": ({"patch": 4, "layers": 1, "heads": 2, "hidden": 128, "mlp": 128}, (3, 16, 16),
            "classification"),
    "gpt2": ({**BERT, "positions": 16}, (16,), "classification"),
}
del NETWORKS["gpt2"][0]["intermediate"]
rng, found, calls, product = np.random.default_rng(0), {}, [], dense.product
dense.product = lambda *given: calls.append(1) or product(*given)
for backend in ("torch", "huggingface"):
    for name, (settings, shape, objective) in NETWORKS.items():
        if backend == "huggingface" and name == "mlp":
            continue
        network = architectures.build(name, settings, shape, 4, objective)
        text = len(shape) == 1 and name != "mlp"
        size = (64, *shape[1:], shape[0]) if len(shape) == 3 else (64, *shape)
        x = rng.integers(5, 40, size).astype(np.int32) if text else \\
            rng.standard_normal(size).astype(np.float32)
        y = rng.integers(0, 4, 64)
        given = Preprocess(length=shape[0]) if text else Preprocess()
        each = np.full((1, 1, 64), 1 / 64)
        plan = TrainPlan(np.arange(64).reshape(1, 1, 64), np.array([[64]]), each,
                         {"lr": np.full(1, 0.1)}, given)
        results, lent, left = [], [], []
        calls.clear()
        for slow in (False, True):
            dense.mkl_is_slow = lambda: slow
            session = registry.get(backend).open(
                network, Task("sgd", network.trainable("none")), device="cpu",
                precision="float32", numerics="strict")
            session.import_weights(weights.draw(network, 0))
            loss, gradients = session.gradients(session.put(x, y), plan)
            results.append(gradients)
            module = session._stepper.placed.module
            lent.append([n for n, part in module.named_modules() if "forward" in vars(part)])
            plain = session.native()
            left += [n for n, part in plain.named_modules() if "forward" in vars(part)]
            again = [n for n, part in module.named_modules() if "forward" in vars(part)]
            left += [n for n in lent[-1] if n not in again]
            session.close()
        scale = max(float(abs(g).max()) for g in results[0].values())
        apart = max(float(abs(results[0][n] - results[1][n]).max()) for n in results[0])
        found[f"{backend} {name}"] = [lent, left, apart / scale, len(calls)]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return python(ALONE, cwd=tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return python(SESSIONS, cwd=tmp_path_factory.mktemp("sessions"))


def test_values_and_gradients_are_as_exact_as_pytorchs_own(alone: Any) -> None:
    summed = {"(16, 64, 128)", "(1056, 128)"}
    for shape, (suits, apart, own, calls) in alone["shapes"].items():
        assert suits
        assert calls == (2 if shape in summed else 3), "the outputs and one or two gradients"
        assert apart < 3 * own + 1e-7


def test_with_frozen_weights_a_row_has_the_same_bits_in_every_batch(alone: Any) -> None:
    # What oneDNN does on other processors is its own affair: there nobody asks for it.
    assert alone["rows"] or not alone["here"]


def test_small_products_and_other_kinds_are_left_alone(alone: Any) -> None:
    assert alone["suits"] == {
        "frozen": True, "frozen, small": False, "few rows": False, "float64": False,
        "nothing": False, "another processor": False,
    }  # fmt: skip


def test_under_autocast_products_are_in_bfloat16_and_gradients_are_not(alone: Any) -> None:
    assert alone["autocast"] == ["torch.bfloat16", "torch.float32"]


def test_one_product_for_many_weights_has_the_bits_of_a_batched_one(alone: Any) -> None:
    assert all(same for _, same in alone["many"].values())
    assert all(alone["refused"])


def test_gaps_in_memory_do_not_make_a_product_slow(tmp_path: Path) -> None:
    for name, (with_gaps, without, apart) in python(GAPS, cwd=tmp_path).items():
        assert len(with_gaps) == 1, name
        assert with_gaps == without, name
        assert apart < 1e-6, name


def test_a_session_has_the_same_gradients(sessions: Any) -> None:
    for name, (_, _, apart, calls) in sessions.items():
        assert apart < (2e-2 if "resnet" in name else 1e-5), name
        assert calls > 0, name


def test_linear_layers_are_lent_and_a_copy_is_an_ordinary_module(sessions: Any) -> None:
    asking = ("torch resnet18", "huggingface resnet18", "torch gpt2")
    for name, ((without, lent), left, *_) in sessions.items():
        # A ResNet's last layer is small, and its convolutions ask for products themselves, as do
        # the layers of the adapter's own whose weights are shared or transposed.
        assert (len(lent) > len(without)) == (name not in asking), name
        assert left == [], name
