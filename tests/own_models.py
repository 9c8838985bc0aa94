"""The same small model in two frameworks, as its user would write it, and wrong ports of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TORCH = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 4, 3, padding=1, bias=False)
        self.fc1 = nn.Linear(4 * 4 * 4, 12)
        self.norm = nn.LayerNorm(12)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(12, 12)
        self.head = nn.Linear(12, 3)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.conv2(x).flatten(1)
        x = self.act(self.norm(self.fc1(x)))
        return self.head(torch.tanh(self.fc2(x)))


def build():
    return Net()
"""

# What a test changes stands on a line of its own.
KERAS = """
import keras
from keras import layers, ops


class BatchNorm(layers.BatchNormalization):
    '''Keras's own keeps the biased variance.'''

    def call(self, inputs, training=None, mask=None):
        if not training:
            return super().call(inputs, training=False)
        mean, variance = ops.moments(inputs, axes=(0, 1, 2))
        count = ops.cast(ops.size(inputs[..., 0]), inputs.dtype)
        new = 1.0 - self.momentum
        unbiased = variance * count / (count - 1)
        self.moving_mean.assign(self.momentum * self.moving_mean + new * mean)
        self.moving_variance.assign(self.momentum * self.moving_variance + new * unbiased)
        return ops.batch_normalization(
            inputs, mean, variance, -1, self.beta, self.gamma, self.epsilon
        )


def gelu(x):
    return 0.5 * x * (1.0 + ops.erf(x / 2**0.5))


def build():
    inputs = keras.Input((8, 8, 1))
    x = layers.ZeroPadding2D(1)(inputs)
    x = layers.Conv2D(6, 3, strides=2)(x)
    x = BatchNorm(epsilon=1e-5, momentum=0.9)(x)
    x = layers.ReLU()(x)
    x = layers.Conv2D(4, 3, padding="same", use_bias=False)(x)
    x = layers.Permute((3, 1, 2))(x)
    x = layers.Flatten()(x)
    x = layers.Dense(12)(x)
    x = layers.LayerNormalization(epsilon=1e-5)(x)
    x = gelu(x)
    x = layers.Dense(12, activation="tanh")(x)
    return keras.Model(inputs, layers.Dense(3)(x))
"""

SPEC: dict[str, Any] = {
    "name": "port",
    "seed": 3,
    "device": "cpu",
    "precision": "float64",
    "data": {"classes": [0, 1, 2], "limit": 90},
    "native": {"torch": "in_torch:build", "tensorflow": "in_keras:build"},
    "finetune": {
        "epochs": 2,
        "batch_size": 16,
        "optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9},
    },
}


def changed(code: str, old: str, new: str) -> str:
    """Return the code with one place of it changed."""
    assert code.count(old) == 1, old
    return code.replace(old, new)


def write(
    folder: Path,
    torch: str = TORCH,
    keras: str = KERAS,
    *,
    finetune: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    **native: Any,
) -> Path:
    """Write the two models and a spec that names them; return the spec."""
    (folder / "in_torch.py").write_text(torch)
    (folder / "in_keras.py").write_text(keras)
    path = folder / "port.json"
    sections = {"finetune": finetune or SPEC["finetune"], "data": data or SPEC["data"]}
    path.write_text(json.dumps({**SPEC, **sections, "native": {**SPEC["native"], **native}}))
    return path
