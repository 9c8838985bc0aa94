"""What PyTorch layers of ours do with less work than PyTorch's own; no bit of it changes."""

from __future__ import annotations

from typing import Any

import pytest
from command import python

POOLING = """
import json
import torch
from torch import nn
from paribus.backends.torch.layers import MaxPool

found = {}
for order in (torch.contiguous_format, torch.channels_last):
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for window in ((2, 2, 0), (3, 2, 1), (3, 1, 1)):
            torch.manual_seed(0)
            # Whole numbers have many equal values, where the first of the largest counts.
            x = torch.randint(-2, 3, (4, 6, 13, 12)).to(dtype).contiguous(memory_format=order)
            x[0, 0, 3, 3], x[1, 1, 5, 5] = float("nan"), float("inf")
            results = []
            for kind in (nn.MaxPool2d, MaxPool):
                layer, inputs = kind(*window), x.clone().requires_grad_()
                with torch.no_grad():
                    alone = layer(inputs)
                outputs = layer(inputs)
                weights = torch.arange(outputs.numel()).view(outputs.shape).to(dtype)
                (outputs * weights).nan_to_num().sum().backward()
                results.append((alone, outputs, inputs.grad))
            same = all(a.equal(b) or (a.isnan() == b.isnan()).all() and
                       a.nan_to_num().equal(b.nan_to_num()) for a, b in zip(*results))
            strides = [[part.stride() for part in result[:2]] for result in results]
            name = f"{order} {dtype} {window}"
            found[name] = [same, strides[0] == strides[1], float(results[0][2].abs().max())]
print(json.dumps(found))
"""

SUMS = """
import json
import torch
from paribus import architectures
from paribus.backends.torch.graph import GraphModule
from paribus.backends.torch.layers import Add

def results(module, x, half):
    module.zero_grad()
    inputs = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        outputs = module(inputs)
    outputs.float().square().sum().backward()
    return [outputs, inputs.grad, *(p.grad.clone() for p in module.parameters())]

NETWORKS = {
    "resnet18": ({}, (3, 32, 32)),
    "mobilenet_v2": ({}, (3, 32, 32)),
}
found = {}
for name, (settings, shape) in NETWORKS.items():
    network = architectures.build(name, settings, shape, 3)
    module = GraphModule(network)
    adds = [part for part in module.modules() if isinstance(part, Add)]
    kept = [part.over for part in adds]
    x = torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    for half in (False, True):
        pair = []
        for over in (kept, [None] * len(adds)):
            for part, value in zip(adds, over):
                part.over = value
            pair.append(results(module, x, half))
        same = all(a.equal(b) and a.dtype == b.dtype for a, b in zip(*pair))
        found[f"{name} {half}"] = [same, sum(value is not None for value in kept), len(adds)]
left, right = torch.ones(2, 3), torch.ones(2, 3, dtype=torch.float64)
layer = Add()
layer.over = 0
mixed, turned = layer(left, right), layer(torch.ones(3, 2).t(), torch.ones(2, 3))
found["others"] = [str(mixed.dtype), float(left.sum()), list(turned.stride())]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return python(SUMS, cwd=tmp_path_factory.mktemp("sums"))


def test_pooling_in_the_other_order_changes_no_bit(tmp_path: Any) -> None:
    found = python(POOLING, cwd=tmp_path)
    assert len(found) == 18
    wrong = {name: values for name, values in found.items() if values[:2] != [True, True]}
    assert not wrong
    assert all(moved > 0 for *_, moved in found.values())


@pytest.mark.parametrize("name", ["resnet18 False", "resnet18 True", "mobilenet_v2 False"])
def test_sums_in_place_change_no_bit(sums: Any, name: str) -> None:
    same, in_place, every = sums[name]
    assert in_place == every > 0
    assert same


def test_sums_of_other_types_or_orders_are_made_anew(sums: Any) -> None:
    assert sums["others"] == ["torch.float64", 6.0, [1, 2]]


FLAT = """
import json
import torch
from torch import nn
from paribus.backends.torch.layers import Flatten

found = []
for order in (torch.contiguous_format, torch.channels_last):
    results, seen = [], []
    for kind in (nn.Flatten, Flatten):
        torch.manual_seed(0)
        x = torch.randn(4, 6, 3, 5).contiguous(memory_format=order).requires_grad_()
        inside = x.relu()
        outputs = kind()(inside)
        inside.register_hook(lambda g: seen.append(g.is_contiguous(memory_format=order)))
        (outputs * torch.randn(4, 90)).sum().backward()
        results.append((outputs.detach(), x.grad))
    found.append([all(a.equal(b) for a, b in zip(*results)), seen])
with torch.no_grad():
    found.append(Flatten()(torch.ones(2, 3, 1, 2)).shape == (2, 6))
print(json.dumps(found))
"""


def test_a_gradient_that_is_turned_has_the_same_bits(tmp_path: Any) -> None:
    first, last, flat = python(FLAT, cwd=tmp_path)
    assert first == [True, [True, True]]
    # Of nn.Flatten it comes in the vectors' order.
    assert last == [True, [False, True]]
    assert flat
