"""What a session has to say of how it computes reaches the user, once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from command import Runner
from experiments import changed
from resumed import TWELVE, by_training

Faulty = Callable[..., Runner]


def test_what_cannot_be_recorded_is_said_once(faulty: Faulty, tmp_path: Path) -> None:
    tree = changed(
        TWELVE,
        backend="scanty",
        steps=["select", "finetune"],
        select={"folds": 2, "candidates": [{"name": "one"}]},
        batched_trainings=False,
    )
    plain = faulty(tmp_path)(tree, "--verbose", out="plain")
    found = faulty(tmp_path, records="it waits for the host")(tree, "--verbose", out="refused")
    said = "launched operation by operation"
    assert found.done.said.count(said) == 1
    assert "(it waits for the host)" in found.done.said
    assert said not in plain.done.said
    assert by_training(found) == by_training(plain)
