"""A planted mistake is found: the step, the stage, the tensor, and what was done instead."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import planted
import pytest
from experiments import Tree, small
from labs import Pool

import paribus
from paribus.remote import RemoteBackend
from paribus.verifying import Verification
from paribus.verifying.party import Party
from paribus.verifying.subject import subject_of
from paribus.verifying.verification import verify_parties

CNN = {"architecture": "cnn", "channels": [3, 4]}
STRIDED = {"architecture": "mobilenet_v2", "width": 0.25}
MLP = {"architecture": "mlp", "hidden": [6, 6]}
VIT = {"architecture": "vit", "patch": 4, "layers": 1, "heads": 2, "hidden": 8, "mlp": 12}
MOMENTUM = {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.01}
ADAM = {"name": "adam", "learning_rate": 0.003, "weight_decay": 0.01}
COSINE = {"name": "cosine", "warmup_epochs": 0.5}

Verify = Callable[..., Verification]


@pytest.fixture(scope="module")
def verify(tmp_path_factory: pytest.TempPathFactory, pool: Pool) -> Iterator[Verify]:
    """Verify an experiment on PyTorch against PyTorch with a mistake, four steps."""
    folder = tmp_path_factory.mktemp("planted")
    planted.install(folder)
    mistake = folder / "mistake.txt"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", str(folder))
        patch.setenv("PLANTED", str(mistake))
        with RemoteBackend(planted.NAME, threads=1) as wrong:

            def run(
                name: str,
                tree: Tree,
                *,
                precision: Any = "float64",
                first: bool = False,
                opaque: bool = False,
            ) -> Verification:
                mistake.write_text(name)
                path = folder / "spec.json"
                path.write_text(json.dumps(tree))
                subject = subject_of(paribus.load(path), None, 4).rounded(precision)
                if opaque:
                    subject = replace(subject, network=replace(subject.network, nodes=()))
                backends = [pool.backend("torch"), wrong]
                parties = [
                    Party(backend.name, "cpu", "strict", backend)
                    for backend in (reversed(backends) if first else backends)
                ]
                return verify_parties("planted", subject, parties, precision)

            yield run


def _spec(model: Tree, optimizer: Tree, **finetune: Any) -> Tree:
    recipe = {"epochs": 3, "batch_size": 16, "optimizer": optimizer, "schedule": COSINE, **finetune}
    return small(model=model, finetune=recipe)


CASES: dict[str, tuple[Tree, int, str, str, str]] = {
    # mistake: experiment, step, stage, name, words of the cause
    "batch norm epsilon": (
        _spec(CNN, MOMENTUM), 1, "forward, evaluation mode", "bn0", "bn0 (batch_norm) has epsilon "
        "0.001, not 1e-05",
    ),
    "layer norm epsilon": (
        _spec(VIT, ADAM), 1, "forward, evaluation mode", "encoder.layers.encoder_layer_0.ln_1",
        "(layer_norm) has epsilon 0.001, not 1e-06",
    ),
    "same padding": (
        _spec(STRIDED, MOMENTUM), 1, "forward, evaluation mode", "features.0.0",
        "padding is asymmetric ('same': the odd pixel at the end), not 1 on each side",
    ),
    # Biases are zero at first, so that the outputs are equal and the gradients are not.
    "dropped bias": (
        _spec(MLP, MOMENTUM), 1, "gradients", "fc.bias", "the gradient of fc.bias is zero",
    ),
    "transposed": (
        _spec(MLP, MOMENTUM), 1, "forward, evaluation mode", "hidden.1",
        "hidden.1.weight is read transposed",
    ),
    "gelu": (
        _spec(VIT, ADAM), 1, "forward, evaluation mode", "encoder.layers.encoder_layer_0.mlp.1",
        "GELU uses the tanh approximation where the definition has the error function",
    ),
    "sum": (
        _spec(MLP, MOMENTUM), 1, "loss", "",
        "the loss is a sum over the rows, not their mean (16 times as large)",
    ),
    "detached": (
        _spec(MLP, MOMENTUM), 1, "gradients", "hidden.0.bias",
        "the gradient of hidden.0.bias is zero",
    ),
    "adam epsilon": (
        _spec(MLP, ADAM), 1, "update", "", "adam's epsilon is 1e-07, not 1e-08",
    ),
    "keras epsilon": (
        _spec(MLP, ADAM), 1, "update", "",
        "adam's epsilon is 1e-07, added before the bias correction (Keras's form",
    ),
    "epsilon inside": (
        _spec(MLP, ADAM), 1, "update", "", "adam's epsilon is 1e-06 inside of the root",
    ),
    "late epsilon": (
        _spec(MLP, ADAM), 3, "update", "", "adam's epsilon is 0.001, not 1e-08",
    ),
    "velocity": (
        _spec(MLP, MOMENTUM), 1, "update", "",
        "the learning rate is inside of the velocity (v ← μ·v − lr·g; w ← w + v)",
    ),
    "nesterov": (
        _spec(MLP, MOMENTUM), 1, "update", "", "Nesterov's momentum, not the plain one",
    ),
    "decoupled": (
        _spec(MLP, ADAM), 1, "update", "", "weight decay is decoupled (w ← w − lr·λ·w",
    ),
    "coupled": (
        _spec(MLP, {**ADAM, "name": "adamw"}), 1, "update", "", "weight decay is coupled",
    ),
    "not clipped": (
        _spec(MLP, MOMENTUM, clip_norm=0.01), 1, "update", "", "gradients are not clipped",
    ),
    "biased variance": (
        _spec(CNN, MOMENTUM), 1, "statistics", "bn0.running_var",
        "the running variance is the biased one",
    ),
    "momentum share": (
        _spec(CNN, MOMENTUM), 1, "statistics", "bn0.running_mean",
        "take 0.01 of each batch and keep 0.99, not 0.1 and 0.9",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", CASES)
def test_a_planted_mistake_is_found_and_named(verify: Verify, mistake: str) -> None:
    tree, step, stage, name, cause = CASES[mistake]
    found = verify(mistake, tree)
    assert not found.passed
    (divergence,) = found.divergences
    assert divergence.difference is not None
    assert (divergence.step, divergence.difference.stage) == (step, stage)
    assert divergence.difference.name == name or not name
    assert cause in divergence.cause
    assert divergence.who == planted.NAME


def test_without_a_mistake_nothing_is_found(verify: Verify) -> None:
    found = verify("none", _spec(CNN, MOMENTUM))
    assert found.passed
    assert not found.divergences


@pytest.mark.parametrize("mistake", ["dropped bias", "batch norm epsilon", "velocity"])
def test_a_reference_that_is_wrong_is_the_one_accused(verify: Verify, mistake: str) -> None:
    tree, step, stage, _, cause = CASES[mistake]
    (divergence,) = verify(mistake, tree, first=True).divergences
    assert divergence.difference is not None
    assert (divergence.step, divergence.difference.stage) == (step, stage)
    if mistake != "dropped bias":
        # A gradient has no definition in NumPy here, so of two nobody knows which is right.
        assert divergence.who == planted.NAME
        assert cause in divergence.cause


def test_in_float32_a_mistake_is_larger_than_any_noise(verify: Verify) -> None:
    """And it is named, since its cause is looked for in float64."""
    tree, *_, cause = CASES["batch norm epsilon"]
    found = verify("batch norm epsilon", tree, precision="float32")
    failed = {check.quantity for check in found.checks if check.verdict == "FAIL"}
    assert {"forward_evaluation", "forward_training", "loss", "losses"} <= failed
    (divergence,) = found.divergences
    assert cause in divergence.cause


def test_of_a_model_whose_inside_is_unknown_the_outputs_are_named(verify: Verify) -> None:
    tree = CASES["batch norm epsilon"][0]
    (divergence,) = verify("batch norm epsilon", tree, opaque=True).divergences
    assert divergence.difference is not None
    assert divergence.difference.name == "outputs"
    assert divergence.cause == "unexplained"
    # An update has no nodes, so it is explained all the same.
    tree, step, *_, cause = CASES["late epsilon"]
    (divergence,) = verify("late epsilon", tree, opaque=True).divergences
    assert divergence.step == step
    assert cause in divergence.cause


def test_only_the_rows_that_differ_fail(verify: Verify) -> None:
    """A wrong running variance changes neither training nor weights."""
    found = verify("biased variance", CASES["biased variance"][0])
    verdicts = {check.quantity: check.verdict for check in found.checks}
    assert verdicts.pop("statistics") == "FAIL"
    assert set(verdicts.values()) == {"PASS"}
