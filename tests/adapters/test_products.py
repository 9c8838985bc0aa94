"""PyTorch's convolutions over few places as products: the same numbers, and an ordinary module."""

from __future__ import annotations

from typing import Any

import pytest
from command import python

# Of each window: the largest difference of outputs and gradients from the kernel's, in float64.
ALONE = """
import json
import torch
import torch.nn.functional as F
from paribus.backends.torch.products import convolve, in_blocks

found, windows = {}, {}
for kernel, stride, padding, bias in (
    (1, 1, 0, False), (1, 2, 0, True), (1, 1, 1, False), (3, 1, 1, False), (3, 2, 1, True),
    (3, 1, 0, False), (2, 2, 0, False), (5, 3, 2, True),
):
    torch.manual_seed(0)
    values = [torch.randn(shape, dtype=torch.float64) for shape in
              ((3, 4, 7, 6), (5, 4, kernel, kernel), (5,))]
    with torch.inference_mode():  # what it leaves behind must be of use in training
        alone = convolve(*values, stride, padding)
    results = []
    for function in (F.conv2d, convolve):
        x, weight, shift = [value.clone().requires_grad_() for value in values]
        outputs = function(x, weight, shift if bias else None, stride, padding)
        (outputs * torch.arange(outputs.numel()).view(outputs.shape)).sum().backward()
        results.append([outputs, x.grad, weight.grad, *([shift.grad] if bias else [])])
    windows[f"{kernel} {stride} {padding}"] = [
        max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(*results)),
        bool(alone.equal(results[1][0])) if bias else True,
        outputs.is_contiguous(memory_format=torch.channels_last),
    ]
torch.manual_seed(0)
x, weight = torch.randn(70, 96, 3, 3), torch.randn(64, 96, 3, 3)
whole, kernel = in_blocks(x, weight, None, 1, 1), F.conv2d(x, weight, None, 1, 1)
found["blocks"] = [
    all(in_blocks(x[a:b], weight, None, 1, 1).equal(whole[a:b])
        for a, b in ((0, 1), (3, 5), (9, 17), (31, 33), (20, 52), (1, 65))),
    float((whole - kernel).abs().max() / kernel.abs().max()),
]
torch.manual_seed(0)
x, weight = torch.randn(4, 8, 2, 2), torch.randn(8, 8, 3, 3, requires_grad=True)
with torch.autocast("cpu", torch.bfloat16):
    outputs = convolve(x, weight, None, 1, 1)
outputs.float().sum().backward()
found["windows"] = windows
found["autocast"] = [str(outputs.dtype), str(weight.grad.dtype)]
print(json.dumps(found))
"""

# Which convolutions of networks are products, with what a session leaves of that in its copies.
NETWORKS = """
import json
import numpy as np
import torch
from paribus import architectures, registry, weights
from paribus.adapter import Task
from paribus.plan import EvalPlan

backend = registry.get("torch")
found = {}
for name, settings, shape in (
    ("resnet18", {}, (3, 32, 32)), ("mobilenet_v2", {}, (3, 32, 32)),
    ("cnn", {"channels": [8, 8]}, (1, 8, 8)),
):
    network = architectures.build(name, settings, shape, 10)
    session = backend.open(network, Task("sgd", network.trainable("none")), device="cpu",
                           precision="float64", numerics="strict")
    session.import_weights(weights.draw(network, 0))
    lent = [n for n, part in session._stepper.placed.module.named_modules()
            if "forward" in vars(part)]
    convolutions = [n for n in lent
                    if isinstance(session._stepper.placed.module.get_submodule(n), torch.nn.Conv2d)]
    plain = session.native()
    left = [n for n, part in plain.named_modules() if "forward" in vars(part)]
    x = np.random.default_rng(0).integers(0, 256, (6, *shape[1:], shape[0]), np.uint8)
    plan = EvalPlan(np.arange(6)[None], np.array([6]))
    ours = session.predict(session.put(x, None), plan)
    again = [n for n, part in session._stepper.placed.module.named_modules()
             if "forward" in vars(part)]
    images = torch.from_numpy(x).permute(0, 3, 1, 2).double()
    with torch.no_grad():
        theirs = plain(images).numpy()
    apart = float(abs(ours - theirs).max() / abs(theirs).max())
    found[name] = [convolutions, left, again == lent, apart]
    session.close()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return python(ALONE, cwd=tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return python(NETWORKS, cwd=tmp_path_factory.mktemp("networks"))


def test_values_and_gradients_are_the_kernels(alone: Any) -> None:
    assert all(apart < 1e-13 for apart, *_ in alone["windows"].values()), alone


def test_an_evaluation_before_a_training_leaves_nothing_that_cannot_be_trained(alone: Any) -> None:
    assert all(same for _, same, _ in alone["windows"].values()), alone


def test_images_stay_channels_last(alone: Any) -> None:
    assert all(last for *_, last in alone["windows"].values()), alone


def test_in_blocks_an_image_has_the_same_bits_in_every_batch(alone: Any) -> None:
    same, apart = alone["blocks"]
    assert same
    assert 0 < apart < 1e-5


def test_under_autocast_products_are_in_bfloat16_and_gradients_are_not(alone: Any) -> None:
    assert alone["autocast"] == ["torch.bfloat16", "torch.float32"]


def test_wide_convolutions_over_few_places_are_products(networks: Any) -> None:
    lent = networks["resnet18"][0]
    assert "layer4.1.conv2" in lent
    assert "layer3.0.conv1" in lent
    assert "layer1.0.conv1" not in lent
    assert any(name.startswith("features.17") for name in networks["mobilenet_v2"][0])
    assert networks["cnn"][0] == []


def test_a_copy_is_an_ordinary_module_and_the_session_goes_on(networks: Any) -> None:
    for lent, left, again, apart in networks.values():
        assert left == [], lent
        assert again
        assert apart < 1e-12
