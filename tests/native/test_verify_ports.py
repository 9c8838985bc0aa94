"""A right port is proven, a wrong one is refuted: where it parts, and what was done instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from labs import Pool
from own_models import KERAS, TORCH, changed, write

import paribus
from paribus.errors import SpecError
from paribus.native.natives import Natives
from paribus.verifying import Verification
from paribus.verifying.party import Party
from paribus.verifying.subject import subject_of
from paribus.verifying.verification import verify_parties

BACKENDS = ("torch", "tensorflow")
STEPS = 4
EXAMPLE = Path(__file__).parents[2] / "examples" / "port" / "port.toml"

Verify = Callable[..., Verification]


@pytest.fixture
def natives(tmp_path: Path, pool: Pool) -> Callable[..., Natives]:
    def of(accept: bool = True, **written: Any) -> Natives:
        spec = paribus.load(write(tmp_path, **written))
        assert spec.native is not None
        backends = [pool.backend(name) for name in BACKENDS]
        return Natives(spec.native, backends, spec.seed, accept=accept)

    return of


@pytest.fixture
def verify(tmp_path: Path, pool: Pool, natives: Callable[..., Natives]) -> Verify:
    def run(**written: Any) -> Verification:
        own = natives(**written)
        spec = paribus.load(tmp_path / "port.json")
        subject = subject_of(spec, None, STEPS, own)
        parties = [Party(name, "cpu", "strict", pool.backend(name)) for name in BACKENDS]
        return verify_parties("port", subject, parties, "float64")

    return run


def verdicts(found: Verification) -> dict[str, str]:
    return {check.quantity: check.verdict for check in found.checks}


def test_a_right_port_is_proven(verify: Verify) -> None:
    found = verify()
    assert set(verdicts(found).values()) == {"PASS"}
    assert found.passed


def test_a_right_port_is_proven_under_a_recipe_with_everything(verify: Verify) -> None:
    finetune = {
        "epochs": 2, "batch_size": 20, "shards": 2, "clip_norm": 0.5, "label_smoothing": 0.1,
        "optimizer": {"name": "adamw", "weight_decay": 0.1, "decay": "weights"},
    }  # fmt: skip
    transform = {"crop": 8, "pad": 1, "horizontal_flip": True}
    found = verify(finetune=finetune, data={"limit": 70, "classes": [0, 1, 2],
                                            "transform": transform})  # fmt: skip
    assert set(verdicts(found).values()) == {"PASS"}


def test_the_example_is_a_right_port(pool: Pool) -> None:
    spec = paribus.load(EXAMPLE)
    assert spec.native is not None
    own = Natives(spec.native, [pool.backend(name) for name in BACKENDS], spec.seed)
    subject = subject_of(spec, None, 2, own)
    parties = [Party(name, "cpu", "strict", pool.backend(name)) for name in BACKENDS]
    assert verify_parties("port", subject, parties, "float64").passed


WRONG: dict[str, tuple[str, str, str, str, str]] = {
    # what: the line, what it becomes, where the port parts, the stage, words of the cause
    "batch norm epsilon": (
        "BatchNorm(epsilon=1e-5,", "BatchNorm(epsilon=1e-3,", "bn1", "forward, evaluation mode",
        "bn1 (batch_norm) has epsilon 0.001, not 1e-05",
    ),
    "layer norm epsilon": (
        "LayerNormalization(epsilon=1e-5)", "LayerNormalization()", "norm",
        "forward, evaluation mode", "norm (layer_norm) has epsilon 0.001, not 1e-05",
    ),
    "padding": (
        "    x = layers.ZeroPadding2D(1)(inputs)\n    x = layers.Conv2D(6, 3, strides=2)(x)",
        "    x = layers.Conv2D(6, 3, strides=2, padding='same')(inputs)", "conv1",
        "forward, evaluation mode", "padding is asymmetric ('same'",
    ),
    "tanh of GELU": (
        "    x = gelu(x)", "    x = keras.activations.gelu(x, approximate=True)", "fc2",
        "forward, evaluation mode",
        "between norm and fc2 torch computes the exact GELU, tensorflow computes the tanh",
    ),
    "flatten order": (
        "    x = layers.Permute((3, 1, 2))(x)\n", "", "fc1", "forward, evaluation mode",
        "in the order (height, width, channels)",
    ),
    "a lost activation": (
        "    x = layers.ReLU()(x)\n", "", "conv2", "forward, evaluation mode",
        "between bn1 and conv2 torch computes ReLU, tensorflow computes nothing",
    ),
    "momentum": (
        "momentum=0.9", "momentum=0.99", "bn1.running_mean", "statistics",
        "the running statistics take 0.01 of each batch and keep 0.99, not 0.1 and 0.9",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_port_is_refuted_and_the_cause_named(what: str, verify: Verify) -> None:
    old, new, name, stage, words = WRONG[what]
    found = verify(keras=changed(KERAS, old, new))
    assert not found.passed
    (parted,) = found.divergences
    assert parted.step == 1
    assert parted.difference is not None
    assert (parted.difference.stage, parted.difference.name) == (stage, name)
    assert words in parted.cause
    assert json.loads(json.dumps(parted.as_dict()))["explained"]


def test_stock_keras_batch_norm_differs_in_its_statistics_alone(verify: Verify) -> None:
    found = verify(keras=changed(KERAS, "    x = BatchNorm(", "    x = layers.BatchNormalization("))
    said = verdicts(found)
    assert said.pop("statistics") == "FAIL"
    assert set(said.values()) == {"PASS"}
    (parted,) = found.divergences
    assert "the running variance is the biased one" in parted.cause


def test_single_precision_in_tensorflows_own_gelu_is_named(verify: Verify) -> None:
    found = verify(keras=changed(KERAS, "    x = gelu(x)", "    x = keras.activations.gelu(x)"))
    (parted,) = found.divergences
    assert "the exact GELU with √½ in single precision" in parted.cause


def test_what_cannot_be_computed_again_is_told_by_what_the_modules_declare(verify: Verify) -> None:
    torch = changed(TORCH, "nn.Conv2d(6, 4, 3, padding=1", "nn.Conv2d(6, 4, 3, padding=(1, 0)")
    torch = changed(torch, "4 * 4 * 4", "4 * 4 * 2")
    keras = changed(KERAS, '4, 3, padding="same"', '4, 3, padding="valid"')
    relu = "    x = layers.ReLU()(x)\n"
    pad = "    x = layers.ZeroPadding2D(((2, 0), (0, 0)))(x)\n"
    keras = changed(keras, relu, relu + pad)
    (parted,) = verify(torch=torch, keras=keras).divergences
    assert parted.difference is not None
    assert parted.difference.name == "conv2"
    assert parted.cause.startswith("likely, by what the modules declare")
    assert "has padding 1,1,0,0, tensorflow's conv2d_1 (Conv2D) has padding 2,0,0,0" in parted.cause


def test_a_table_that_reads_a_square_weight_transposed(
    verify: Verify, natives: Callable[..., Natives], tmp_path: Path
) -> None:
    right = json.loads(natives().proposed((1, 8, 8)))
    assert right["tensorflow"]["fc2.weight"] == {"name": "dense_1/kernel", "axes": [1, 0]}
    right["tensorflow"]["fc2.weight"] = "dense_1/kernel"
    (tmp_path / "names.json").write_text(json.dumps(right))
    (parted,) = verify(accept=False, names="names.json").divergences
    assert parted.difference is not None
    assert parted.difference.name == "fc2"
    assert "fc2.weight is read transposed" in parted.cause


def test_a_view_mends_another_order_of_flattening(
    verify: Verify, natives: Callable[..., Natives], tmp_path: Path
) -> None:
    keras = changed(KERAS, "    x = layers.Permute((3, 1, 2))(x)\n", "")
    names = json.loads(natives(keras=keras).proposed((1, 8, 8)))
    names["tensorflow"]["fc1.weight"] = {
        "name": "dense/kernel", "view": [12, 4, 4, 4], "axes": [2, 3, 1, 0], "shape": [12, 64]
    }  # fmt: skip
    (tmp_path / "names.json").write_text(json.dumps(names))
    assert verify(keras=keras, accept=False, names="names.json").passed


def test_a_lost_bias_is_listed(natives: Callable[..., Natives]) -> None:
    own = natives(
        keras=changed(KERAS, "layers.Dense(12)(x)", "layers.Dense(12, use_bias=False)(x)")
    )
    with pytest.raises(SpecError, match=r"without a partner; of torch 1: fc1\.bias\."):
        own.network((1, 8, 8), 3, "classification")
