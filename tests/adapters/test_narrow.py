"""Convolutions alone in bfloat16: near what float32 gives, and gone without a trace."""

from __future__ import annotations

from typing import Any

import pytest
from command import python

SCRIPT = """
import json
from dataclasses import replace
import numpy as np
import torch
from paribus import architectures, registry, weights
from paribus.adapter import Task
from paribus.optimizers import RULES
from paribus.plan import EvalPlan, Preprocess, TrainPlan
from paribus.tuning import Tuning

rng = np.random.default_rng(0)
network = architectures.build("cnn", {"channels": [16, 16]}, (1, 12, 12), 3)
free = network.trainable("none")
one = registry.get("torch").open(network, Task("sgd", free, free), device="cpu",
                                 precision="float32", numerics="fast")
one.import_weights(weights.draw(network, 0))
x, y = rng.standard_normal((16, 12, 12, 1)).astype(np.float32), rng.integers(0, 3, 16)
handle = one.put(x, y)
scalars = RULES["sgd"].coefficients({"weight_decay": 0.0}, np.full(2, 0.1), np.arange(1.0, 3))
plan = TrainPlan(np.arange(16).reshape(2, 1, 8), np.full((2, 1), 8), np.full((2, 1, 8), 1 / 8),
                 scalars, Preprocess())
looks = EvalPlan(np.arange(16).reshape(2, 8), np.full(2, 8), Preprocess())
stepper, seen = one._stepper, []


def look():
    loss, found = one.gradients(handle, plan)
    return np.concatenate([np.array([loss]), *[g.ravel() for g in found.values()]]), \\
        one.predict(handle, looks)


strict = stepper.setup
answers = [look()]
convolutions = [m for m in stepper.placed.module.modules() if isinstance(m, torch.nn.Conv2d)]
stepper.change(replace(strict, narrow=True))
answers.append(look())
lent = [m.in_channels for m in convolutions if "forward" in vars(m)
        and "narrow" in m.forward.__module__]
kinds = {str(p.dtype) for p in stepper.placed.module.parameters()}
module = one.native()
native = [p.dtype == torch.float32 for p in module.parameters()]
plain = ["forward" in vars(m) for m in module.modules()]
with torch.inference_mode():
    outputs = module(torch.from_numpy(x.transpose(0, 3, 1, 2))).numpy()
stepper.change(replace(strict, narrow=False, channels_last=not strict.channels_last))
stepper.change(strict)
answers.append(look())
(g, p), (h, q), (i, r) = answers
apart = float(np.linalg.norm(h - g) / np.linalg.norm(g))
one.tune(Tuning())
one.train_steps(handle, plan).result()
tried = [t.settings["products"] for t in one.choices[0].tried]
print(json.dumps([apart, float(abs(q - p).max() / abs(p).max()), lent, sorted(kinds), all(native),
                  any(plain), float(abs(outputs - p).max() / abs(p).max()),
                  i.tobytes() == g.tobytes() and r.tobytes() == p.tobytes(), tried]))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return python(SCRIPT, cwd=tmp_path_factory.mktemp("narrow"))


def test_convolutions_of_many_channels_are_narrow_and_nothing_else(found: Any) -> None:
    apart, outputs, lent, kinds, *_ = found
    assert 1e-4 < apart < 0.05
    assert 1e-5 < outputs < 0.05
    assert lent == [16]
    assert kinds == ["torch.float32"]


def test_the_native_module_is_a_plain_one(found: Any) -> None:
    *_, single, lent, outputs, _, _ = found
    assert single
    assert not lent
    assert outputs < 1e-5


def test_what_was_changed_back_computes_the_same_bits(found: Any) -> None:
    *_, same, _ = found
    assert same


def test_it_is_tried(found: Any) -> None:
    assert "bfloat16 convolutions" in found[-1]
