"""When a difference passes, fails, or says nothing: by fixed bounds, and by noise."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np

from paribus.verifying.checks import TITLES, Check, Noise, abstained, judge
from paribus.verifying.distances import Distances, array, by_tensor
from paribus.verifying.tolerances import FIXED, FLOOR

STEPS = 5


def _distances(value: float, **changes: Any) -> Distances:
    """Return distances that are all the same, but for some."""
    tensors = {"a": value, "b": value / 2}
    found = Distances(
        value, value, value, tensors, np.full(STEPS, value), np.full(2, value), tensors,
        {"momentum/a": value}, {"n.running_mean": value},
    )  # fmt: skip
    return replace(found, **changes)


def _row(checks: list[Check], quantity: str) -> Check:
    return next(check for check in checks if check.quantity == quantity)


def test_in_float64_every_quantity_has_a_bound_of_its_own() -> None:
    assert set(FIXED) == set(TITLES)
    assert {check.verdict for check in judge("other", _distances(1e-11))} == {"PASS"}
    failed = {check.quantity for check in judge("other", _distances(2e-9)) if
              check.verdict == "FAIL"}  # fmt: skip
    assert failed == {"forward_evaluation", "forward_training", "loss", "gradients", "losses"}


def test_the_worst_tensor_and_step_are_named() -> None:
    losses = np.array([0.0, 0.0, 3e-4, 1e-4, 0.0])
    checks = judge("other", _distances(0.0, losses=losses, gradients={"a": 1e-12, "b": 1e-3}))
    assert (_row(checks, "losses").where, _row(checks, "losses").value) == ("step 3", 3e-4)
    assert (_row(checks, "gradients").where, _row(checks, "gradients").verdict) == ("b", "FAIL")
    assert _row(checks, "gradients").details == {"a": 1e-12, "b": 1e-3}


def test_what_is_not_there_is_not_judged() -> None:
    checks = judge("other", _distances(0.0, slots={}, statistics={}))
    assert _row(checks, "slots").verdict == _row(checks, "statistics").verdict == "ABSTAIN"
    assert {check.verdict for check in abstained("other", "no float64")} == {"ABSTAIN"}
    unread = judge("other", _distances(0.0, learning_rates=np.array([np.nan, 0.0])))
    assert _row(unread, "learning_rates").verdict == "ABSTAIN"


def test_a_loss_that_is_no_number_fails_and_is_null_in_json() -> None:
    far = array(np.array([1.0, 2.0]), np.array([1.0, np.nan]))
    assert far == float("inf")
    check = _row(judge("other", _distances(0.0, losses=np.array([0, 0, 0, 0, far]))), "losses")
    assert (check.verdict, check.where) == ("FAIL", "step 5")
    assert json.loads(json.dumps(check.as_dict()))["value"] is None


def test_below_float64_the_noisier_of_two_sets_the_bound() -> None:
    noise = Noise(_distances(1e-5), _distances(4e-5), "float32")
    assert _row(judge("other", _distances(1.1e-4), noise), "loss").verdict == "PASS"
    check = _row(judge("other", _distances(1.3e-4), noise), "loss")
    assert check.verdict == "FAIL"
    assert check.noise == (1e-5, 4e-5)
    silent = Noise(_distances(0.0), _distances(0.0), "float32")
    assert _row(judge("other", _distances(FLOOR["float32"]), silent), "loss").verdict == "PASS"
    assert _row(judge("other", _distances(2e-6), silent), "loss").verdict == "FAIL"
    # Without its own float64 to compare with, no noise means little.
    blind = replace(silent, blind=True)
    assert _row(judge("other", _distances(2e-6), blind), "loss").verdict == "PASS"


def test_where_noise_takes_over_nothing_is_judged_and_the_step_is_said() -> None:
    grown = np.array([1e-6, 1e-4, 0.02, 0.5, 0.01])
    noise = Noise(_distances(1e-6, losses=grown), _distances(1e-6), "float32")
    check = _row(judge("other", _distances(0.0, losses=2 * grown), noise), "losses")
    assert check.verdict == "PASS"
    assert "from step 4 on" in check.reason
    early = 0.03 + np.zeros(STEPS)
    assert _row(judge("other", _distances(0.0, losses=early), noise), "losses").verdict == "FAIL"
    drowned = Noise(_distances(1e-6, losses=np.full(STEPS, 0.4)), _distances(1e-6), "float32")
    check = _row(judge("other", _distances(0.0), drowned), "losses")
    assert (check.verdict, check.tolerance) == ("ABSTAIN", None)


def test_in_float64_noise_only_widens_a_bound() -> None:
    silent = Noise(_distances(0.0), _distances(0.0), "float64")
    assert _row(judge("other", _distances(5e-10), silent), "losses").verdict == "PASS"
    loud = Noise(_distances(1e-3), _distances(0.0), "float64")
    assert _row(judge("other", _distances(2e-3), loud), "losses").verdict == "PASS"
    assert _row(judge("other", _distances(4e-3), loud), "losses").verdict == "FAIL"
    patient = replace(loud, factor=30.0)
    assert _row(judge("other", _distances(4e-3), patient), "losses").verdict == "PASS"


def test_a_tensor_of_nothing_but_rounding_has_no_scale_of_its_own() -> None:
    right = {"weight": np.array([1.0]), "bias": np.array([1e-18])}
    found = by_tensor(right, {"weight": np.array([1.0]), "bias": np.array([-3e-18])})
    assert found["bias"] < 1e-15
    assert by_tensor(right, {"weight": np.array([1.0]), "bias": np.array([1e-3])})["bias"] > 1e-2
