"""What is chosen, by a clock that the candidates themselves turn."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from paribus.cachefolder import cache_folder
from paribus.tuning import Answer, Choice, Subject, Tuning, choose

AXES = {"products": ("float32", "bfloat16"), "channels_last": (False, True), "threads": (2, 1)}
NONE: Mapping[Any, Any] = MappingProxyType({})
HALF, LAST, ONE = ("products", "bfloat16"), ("channels_last", True), ("threads", 1)
SUBJECT = Subject("training", "cnn", {"network": "a cnn"}, (), [1, 32])
EXACT = Answer(np.array([2.0]), np.array([3.0, 4.0]))


class Machine:
    """A trial whose steps take the product of what each setting costs, by its own clock."""

    def __init__(
        self,
        costs: Mapping[tuple[str, Any], float],
        answers: Mapping[Any, Any] = NONE,
    ) -> None:
        self.costs, self.answers = costs, answers
        self.time, self.settings = 0.0, {}
        self.used: list[dict[str, Any]] = []

    def clock(self) -> float:
        return self.time

    def use(self, settings: Mapping[str, Any]) -> None:
        self.settings = dict(settings)
        self.used.append(self.settings)

    def answer(self) -> Answer:
        for value, answer in self.answers.items():
            if value in self.settings.values():
                if isinstance(answer, Exception):
                    raise answer
                return answer
        return EXACT

    def run(self, count: int) -> None:
        cost = 0.01
        for axis, value in self.settings.items():
            cost *= self.costs.get((axis, value), 1.0)
        self.time += count * cost


def chosen(machine: Machine, tolerance: float = 0.1) -> dict[str, Any]:
    return choose(AXES, machine, tolerance, machine.clock).settings


def test_each_axis_takes_what_is_fastest_with_the_axes_before() -> None:
    machine = Machine({HALF: 0.5, LAST: 0.8, ONE: 1.4})
    assert chosen(machine) == {"products": "bfloat16", "channels_last": True, "threads": 2}
    assert len({repr(settings) for settings in machine.used}) == 6


def test_what_won_on_one_axis_makes_way_for_what_is_better_without_it_on_the_next() -> None:
    class Together(Machine):
        """One in which the products cost five times as much in the other order."""

        def run(self, count: int) -> None:
            super().run(count)
            if {HALF, LAST} <= set(self.settings.items()):
                self.time += 4 * count * 0.01 * 0.4 * 0.8

    assert chosen(Together({HALF: 0.8, LAST: 0.4})) == {
        "products": "float32", "channels_last": True, "threads": 2,
    }  # fmt: skip


def test_a_small_gain_is_one_where_it_stays() -> None:
    class Lucky(Machine):
        """One whose products in bfloat16 gain in their first turns alone."""

        def run(self, count: int) -> None:
            super().run(count)
            turns = sum(HALF in settings.items() for settings in self.used)
            if turns > 6 and HALF in self.settings.items():
                self.time += count * 0.002

    assert chosen(Machine({HALF: 0.95, LAST: 2.0, ONE: 2.0}))["products"] == "bfloat16"
    assert chosen(Lucky({HALF: 0.92, LAST: 2.0, ONE: 2.0}))["products"] == "float32"


def test_what_is_kept_is_faster_than_strict_at_the_end_too() -> None:
    class Warm(Machine):
        """One whose products in bfloat16 are fast until the last axis is tried."""

        def run(self, count: int) -> None:
            super().run(count)
            late = any(ONE in settings.items() for settings in self.used)
            if late and HALF in self.settings.items():
                self.time += count * 0.01

    machine = Warm({HALF: 0.8, LAST: 1.2, ONE: 4.0})
    found = choose(AXES, machine, 0.1, machine.clock)
    assert found.settings["products"] == "float32"
    assert found.seconds == found.reference_seconds


def test_turns_are_long_enough_for_the_clock_where_calls_cost_more_than_steps() -> None:
    counts: list[int] = []

    class Called(Machine):
        def run(self, count: int) -> None:
            counts.append(count)
            self.time += 1e-3 + 1e-5 * count

    machine = Called({})
    choose(AXES, machine, 0.1, machine.clock)
    assert counts[-1] == 1024


def test_strict_settings_stay_where_nothing_is_worth_it() -> None:
    assert chosen(Machine({HALF: 0.97, LAST: 1.1})) == {
        "products": "float32", "channels_last": False, "threads": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "verdict", "why"),
    [
        (Answer(np.array([2.0]), np.array([3.0, 4.6])), "too far", ""),
        # Ten times closer than a gradient: 0.05 of 2 is 2.5 %.
        (Answer(np.array([2.05]), EXACT.gradient), "too far", ""),
        (Answer(np.array([2.0]), np.array([3.0, np.nan])), "too far", ""),
        (RuntimeError("no such kernel"), "failed", "RuntimeError: no such kernel"),
    ],
)
def test_what_is_too_far_or_fails_is_never_kept_however_fast(
    answer: Any, verdict: str, why: str
) -> None:
    machine = Machine({HALF: 1e-6}, {"bfloat16": answer})
    found = choose(AXES, machine, 0.1, machine.clock)
    assert found.settings["products"] == "float32"
    tried = next(one for one in found.tried if one.settings["products"] == "bfloat16")
    assert (tried.verdict, tried.why, tried.seconds) == (verdict, why, None)


def test_within_the_tolerance_is_close_enough() -> None:
    near = Answer(np.array([2.01]), np.array([3.0, 4.45]))
    machine = Machine({HALF: 0.5}, {"bfloat16": near})
    found = choose(AXES, machine, 0.1, machine.clock)
    assert found.settings["products"] == "bfloat16"
    assert found.error == pytest.approx(0.09)
    assert found.seconds == pytest.approx(0.5 * found.reference_seconds)


def tuned(folder: Any, machine: Machine, **options: Any) -> Choice:
    tuning = Tuning(0.1, folder, clock=machine.clock, **options)
    return tuning.choose(SUBJECT, AXES, lambda: machine)


def test_a_choice_is_remembered(tmp_path: Any) -> None:
    first = tuned(tmp_path, Machine({HALF: 0.5}))
    again = Machine({LAST: 0.1})
    second = tuned(tmp_path, again)
    assert (first.origin, second.origin) == ("measured", "remembered")
    assert second.settings == first.settings
    assert again.used == []
    assert "products = bfloat16 (2.00 × strict" in second.sentence


def test_another_tolerance_is_another_question(tmp_path: Any) -> None:
    near = {"bfloat16": Answer(np.array([2.0]), np.array([3.0, 4.45]))}
    tuned(tmp_path, Machine({HALF: 0.5}, near))
    machine = Machine({HALF: 0.5}, near)
    choice = Tuning(0.01, tmp_path, clock=machine.clock).choose(SUBJECT, AXES, lambda: machine)
    assert (choice.origin, choice.settings["products"]) == ("measured", "float32")


def test_the_run_s_own_choice_stays_whatever_is_remembered(tmp_path: Any) -> None:
    own = tuned(None, Machine({LAST: 0.5}))
    tuned(tmp_path, Machine({HALF: 0.5}))
    found = tuned(tmp_path, Machine({}), earlier=(own,))
    assert (found.origin, found.settings) == ("run", own.settings)


@pytest.mark.parametrize("damage", ["half", "other settings", "other types", "another subject"])
def test_a_damaged_memory_is_ignored_and_said(tmp_path: Any, damage: str) -> None:
    tuned(tmp_path, Machine({HALF: 0.5}))
    (path,) = (tmp_path / "tuning").iterdir()
    text = path.read_text()
    path.write_text({
        "half": text[: len(text) // 2],
        "other settings": text.replace('"bfloat16"', '"float8"'),
        "other types": text.replace('"channels_last":false', '"channels_last":0'),
        "another subject": text.replace('"subject":"', '"subject":"0'),
    }[damage])  # fmt: skip
    found = tuned(tmp_path, Machine({LAST: 0.5}))
    assert (found.origin, found.settings["channels_last"]) == ("measured", True)
    assert f"{path} is not used" in found.note
    # It has been written anew.
    assert tuned(tmp_path, Machine({})).note == ""


def test_a_memory_that_cannot_be_written_is_said(tmp_path: Any) -> None:
    (tmp_path / "tuning").write_text("a file")
    found = tuned(tmp_path, Machine({HALF: 0.5}))
    assert found.settings["products"] == "bfloat16"
    assert "cannot be remembered" in found.note


def test_the_cache_is_where_the_user_says(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("PARIBUS_CACHE", raising=False)
    assert cache_folder() == tmp_path / "paribus"
    monkeypatch.setenv("PARIBUS_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
