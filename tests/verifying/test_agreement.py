"""Backends that are right are never accused: whole experiments, several seeds, two precisions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import languages
import pytest
from experiments import Tree, changed, small
from labs import Pool

import paribus
from paribus.verifying import Verification
from paribus.verifying.party import Party
from paribus.verifying.subject import subject_of
from paribus.verifying.verification import verify_parties

Verify = Callable[..., Verification]
OTHERS = ("tensorflow", "huggingface", "jax")

COSINE = {"name": "cosine", "warmup_epochs": 0.5}
RECIPES = {
    "momentum": {"optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9,
                               "weight_decay": 0.01}, "clip_norm": 0.5},
    "adamw": {"optimizer": {"name": "adamw", "learning_rate": 0.01}, "shards": 2},
    "rmsprop": {"optimizer": {"name": "rmsprop", "learning_rate": 0.002, "momentum": 0.5}},
}  # fmt: skip
CNN = {"architecture": "cnn", "channels": [3, 4]}


@pytest.fixture
def verify(tmp_path: Path, pool: Pool) -> Verify:
    """Verify an experiment on all backends, in processes that other tests use, too."""

    def run(tree: Tree, steps: int, precision: Any = "float64") -> Verification:
        path = tmp_path / "spec.json"
        path.write_text(json.dumps(tree))
        subject = subject_of(paribus.load(path), None, steps).rounded(precision)
        parties = [Party(name, "cpu", "strict", pool.backend(name)) for name in ("torch", *OTHERS)]
        return verify_parties("agreement", subject, parties, precision)

    return run


def _small(recipe: str, seed: int, **changes: Any) -> Tree:
    finetune = {"epochs": 4, "batch_size": 16, "schedule": COSINE, **RECIPES[recipe]}
    return small(model=CNN, seed=seed, finetune=finetune, **changes)


def _require_agreement(found: Verification) -> None:
    failed = [check for check in found.checks if check.verdict == "FAIL"]
    assert not failed, failed
    assert not found.divergences
    assert found.passed


@pytest.mark.parametrize("seed", range(3))
def test_no_false_alarm(verify: Verify, seed: int) -> None:
    recipe = list(RECIPES)[seed % len(RECIPES)]
    found = verify(_small(recipe, seed), 10)
    _require_agreement(found)
    verdicts = {check.quantity: check.verdict for check in found.checks}
    assert verdicts["losses"] == verdicts["gradients"] == verdicts["statistics"] == "PASS"


@pytest.mark.full
@pytest.mark.parametrize("seed", range(20))
def test_no_false_alarm_over_twenty_seeds(verify: Verify, seed: int) -> None:
    for recipe in RECIPES:
        _require_agreement(verify(_small(recipe, seed), 12))


@pytest.mark.full
@pytest.mark.parametrize("seed", range(20))
def test_no_false_alarm_in_float32_over_twenty_seeds(verify: Verify, seed: int) -> None:
    recipe = list(RECIPES)[seed % len(RECIPES)]
    _require_agreement(verify(_small(recipe, seed), 12, "float32"))


@pytest.mark.parametrize(
    "name", ["masked", pytest.param("causal", marks=pytest.mark.full), "pairs"]
)
def test_models_of_texts_agree(
    verify: Verify, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    languages.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    tree = languages.EXPERIMENTS[name]
    steps = tree.get("steps", ["finetune"])[:1]
    _require_agreement(verify(changed(tree, name=name, steps=steps), 4))


def test_in_float32_backends_are_judged_by_their_own_noise(verify: Verify) -> None:
    found = verify(_small("momentum", 1), 4, "float32")
    _require_agreement(found)
    for name in OTHERS:
        check = found.check(name, "losses")
        assert check.verdict == "PASS"
        assert check.noise is not None
        assert set(found.noise[name]) == {"threads", "order", "float64"}
        # Three times the noisier of the two, and never nothing.
        assert check.tolerance is not None
        assert check.tolerance >= 3 * max(check.noise)
        assert check.tolerance > 0
