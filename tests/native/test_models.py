"""Models of other makes: attention, subclassed and nested models, transformers'."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from labs import Pool
from own_models import SPEC

import paribus
from paribus.errors import SpecError
from paribus.native.natives import Natives
from paribus.verifying import Verification
from paribus.verifying.party import Party
from paribus.verifying.subject import subject_of
from paribus.verifying.verification import verify_parties

TORCH = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8))
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.first = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
        self.head = nn.Linear(64, 3)

    def forward(self, x):
        x = self.frozen(x.squeeze(1) * self.scale)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        # The same part twice.
        x = self.first(self.first(x))
        return self.head(x.flatten(1))


def build():
    return Net()
"""

KERAS = """
import keras
from keras import layers


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.scale = self.add_weight(shape=(8,), initializer="ones", name="scale")
        self.frozen = layers.Dense(8, name="frozen", trainable=False)
        self.attention = layers.MultiHeadAttention(2, 4, name="attention")
        self.first = keras.Sequential(
            [layers.Dense(8, activation="relu", name="one"), layers.Dense(8, name="two")],
            name="first",
        )
        self.head = layers.Dense(3, name="head")

    def call(self, x):
        x = self.frozen(x[..., 0] * self.scale)
        x = x + self.attention(x, x)
        x = self.first(self.first(x))
        return self.head(keras.ops.reshape(x, (-1, 64)))


def build():
    return Net()
"""

HUGGINGFACE = """
from in_torch import Net
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput


class Config(PretrainedConfig):
    model_type = "mine"


class Mine(PreTrainedModel):
    config_class = Config

    def __init__(self, config):
        super().__init__(config)
        self.net = Net()
        self.post_init()

    def forward(self, pixel_values):
        return ImageClassifierOutput(logits=self.net(pixel_values))


def build():
    return Mine(Config())
"""


@pytest.fixture
def natives(tmp_path: Path, pool: Pool) -> Callable[..., tuple[Any, Natives]]:
    def of(*backends: str, **given: Any) -> tuple[Any, Natives]:
        for name, code in (("torch", TORCH), ("keras", KERAS), ("hf", HUGGINGFACE)):
            (tmp_path / f"in_{name}.py").write_text(code)
        builders = {"torch": "in_torch:build", "tensorflow": "in_keras:build",
                    "huggingface": "in_hf:build", "path": str(tmp_path)}  # fmt: skip
        spec = paribus.load({**SPEC, "native": {**builders, **given}})
        accept = "names" not in given
        assert spec.native is not None
        opened = [pool.backend(name) for name in backends]
        return spec, Natives(spec.native, opened, spec.seed, accept=accept)

    return of


def verified(spec: Any, own: Natives, pool: Pool, *backends: str) -> Verification:
    subject = subject_of(spec, None, 3, own)
    parties = [Party(name, "cpu", "strict", pool.backend(name)) for name in backends]
    return verify_parties("models", subject, parties, "float64")


def test_transformers_model_is_one_of_torchs(
    natives: Callable[..., tuple[Any, Natives]], pool: Pool
) -> None:
    backends = ("torch", "huggingface")
    spec, own = natives(*backends)
    found = verified(spec, own, pool, *backends)
    assert found.passed
    # The same code: the same bits. The rates alone are read off the weights' change, which rounds.
    values = {check.quantity: check.value for check in found.checks if check.verdict == "PASS"}
    rates = values.pop("learning_rates")
    assert set(values.values()) == {0.0}
    assert rates is not None
    assert rates < 1e-15


def test_attention_in_one_tensor_and_in_several(
    natives: Callable[..., tuple[Any, Natives]], pool: Pool, tmp_path: Path
) -> None:
    backends = ("torch", "tensorflow")
    spec, own = natives(*backends)
    names = json.loads(own.proposed((1, 8, 8)))
    (tmp_path / "names.json").write_text(json.dumps(names))
    table = names["tensorflow"]
    parts = [part["name"] for part in table["attention.in_proj_weight"]]
    assert parts == [f"net/attention/{part}/kernel" for part in ("query", "key", "value")]
    assert table["attention.out_proj.weight"]["name"] == "net/attention/attention_output/kernel"
    network = own.network((1, 8, 8), 3, "classification")
    assert network.tensors["frozen.weight"].kind == "statistic"
    found = verified(spec, own, pool, *backends)
    assert found.passed, found.as_dict()
    # One of the two alone derives the same names and shapes from the table.
    _, alone = natives("tensorflow", names=str(tmp_path / "names.json"))
    derived = alone.network((1, 8, 8), 3, "classification")
    assert {n: t.shape for n, t in derived.tensors.items()} == {
        n: t.shape for n, t in network.tensors.items()
    }


def test_dropout_is_not_compared(
    natives: Callable[..., tuple[Any, Natives]], tmp_path: Path
) -> None:
    _, own = natives("torch", "huggingface")
    code = TORCH.replace("nn.ReLU(), nn.Linear(8, 8))", "nn.Dropout(0.5), nn.Linear(8, 8))")
    (tmp_path / "in_torch.py").write_text(code)
    with pytest.raises(SpecError, match=r"torch's first.1 \(Dropout\) drops 0.5"):
        own.network((1, 8, 8), 3, "classification")
