"""PyTorch rectifies after it has pooled, which is less work; no bit of what comes out changes."""

from __future__ import annotations

from typing import Any

import pytest
from command import python

# Of each network: what its two orders call, and whether outputs and gradients are the same.
PROGRAM = """
import json
import torch
from paribus import architectures
from paribus.backends.torch.graph import GraphModule

SETTINGS = {
    "plain": {"channels": [5, 7], "batch_norm": False},
    "norms": {"channels": [5, 7], "batch_norm": True},
}
found = {}
for name, settings in SETTINGS.items():
    torch.manual_seed(0)
    network = architectures.build("cnn", settings, (2, 13, 12), 3)
    module = GraphModule(network)
    # Whole numbers have many equal values, where the first of the largest counts.
    x = torch.randint(-2, 3, (8, 2, 13, 12)).float()
    results, calls = [], []
    for in_order in (True, False):
        module.in_order = in_order
        module.zero_grad()
        called = []
        hooks = [module.get_submodule(node.name).register_forward_hook(
                    lambda module, inputs, output, name=node.name: called.append(name))
                 for node in network.nodes]
        inputs = x.clone().requires_grad_()
        outputs = module(inputs)
        outputs.square().sum().backward()
        results.append([outputs, inputs.grad, *(p.grad for p in module.parameters())])
        calls.append(called)
        for hook in hooks:
            hook.remove()
    same = [torch.equal(a, b) for a, b in zip(*results)]
    found[name] = {"same": all(same), "moved": float(results[0][1].abs().max()), "calls": calls}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return python(PROGRAM, cwd=tmp_path_factory.mktemp("pooled"))


@pytest.mark.parametrize("name", ["plain", "norms"])
def test_pooling_first_changes_no_bit(found: Any, name: str) -> None:
    plain, pooled = found[name]["calls"]
    assert plain.index("relu0") < plain.index("pool0")
    assert pooled.index("pool0") < pooled.index("relu0")
    assert sorted(plain) == sorted(pooled)
    assert found[name]["moved"] > 0
    assert found[name]["same"]
