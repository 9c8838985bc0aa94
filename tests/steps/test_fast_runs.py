"""Runs in fast numerics: what was chosen is in the run folder, and stays the run's."""

from __future__ import annotations

from command import Runner
from experiments import changed
from resumed import TWELVE, legs


def test_a_run_that_goes_on_computes_as_it_began(run: Runner) -> None:
    tree = changed(TWELVE, numerics="fast", tolerance=0.4)
    done = legs(run, tree, [("torch", 4)], "torch", "legs")
    assert done.result["tolerance"] == 0.4
    first, second = (leg["choices"] for leg in done.result["legs"])
    assert [choice["purpose"] for choice in first] == ["training"]
    assert first[0]["origin"] in ("measured", "remembered")
    # Whatever is remembered by now, for other rows than those that it begins with.
    assert second[0]["origin"] == "run"
    assert second[0]["settings"] == first[0]["settings"]


def test_strict_runs_choose_nothing(run: Runner) -> None:
    done = run(TWELVE, out="strict")
    assert [leg["choices"] for leg in done.result["legs"]] == [[]]
    assert "tolerance" not in done.result
