"""The pieces of work that ``faulty.py`` interrupts: all that paribus writes and later trusts."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from faulty import Scenario
from safetensors.numpy import load_file

from paribus import weights
from paribus.features.store import Store as Features
from paribus.runfolder import RESULT, SPEC, WEIGHTS, RunFolder, read_result
from paribus.runstate.records import Finished, Identity, Mark, Outcome, State
from paribus.runstate.store import BEST, Damaged, Store
from paribus.tuning.choice import Choice
from paribus.tuning.memory import Memory

NOTHING = Mark(size=0, sha256=sha256().hexdigest())
PLACE = dict.fromkeys(("loss_sum", "counted", "seconds", "train_seconds", "compile_seconds"), 0.5)
PLACE |= {"epoch": 1, "start": 1, "waited": 0, "validations": []}
PLACE |= dict.fromkeys(("best", "kept"))


def tensors(value: float) -> dict[str, Any]:
    return {"weights/a": np.full((40, 30), value), "slots/m/a": np.full((40, 30), -value)}


def state(steps: int, **changes: Any) -> State:
    values: dict[str, Any] = {
        "format": 1, "spec": {}, "data": {}, "optimizer_steps": steps, "metrics": NOTHING,
        "legs": [], "finished": [],
        "training": {"identity": Identity(labels={"step": "pretrain"}, depends={}),
                     "place": PLACE},
    }  # fmt: skip
    return State(**values | changes)


def ended(model: str) -> Finished:
    outcome = dict.fromkeys(("seconds", "train_seconds", "compile_seconds", "train_loss"), 0.5)
    outcome |= dict.fromkeys(("kept_epoch", "epochs", "optimizer_steps", "examples"), 1)
    return Finished(
        identity=Identity(labels={"step": "pretrain"}, depends={}), how="complete", model=model,
        outcome=Outcome(**outcome, validation=None, stopped=False), seconds=1.0,
    )  # fmt: skip


def newest(folder: Path) -> int:
    """Return the optimizer steps of the newest checkpoint that can be read."""
    store = Store(folder)
    for number in reversed(store.numbers):
        try:
            found = store.read(number)
        except Damaged:
            continue
        for one in found.state.finished:
            assert one.model is not None
            assert store.model(one.model).read("a").shape == (40, 30)
        return found.state.optimizer_steps
    raise AssertionError("no checkpoint can be read")


def nothing_half(folder: Path) -> None:
    """Require that a disk that is full keeps no half of anything."""
    left = [path.name for path in folder.rglob("*.partial")]
    assert not left, f"{left} is left"


# A checkpoint with a model and the best weights, where two are already.


def two_checkpoints(folder: Path) -> None:
    store = Store(folder)
    for steps in (1, 2):
        store.write(state(steps), tensors(steps))
    store.save_best({"a": np.zeros(3)}, {})


def third_checkpoint(folder: Path) -> None:
    store = Store(folder)
    model = store.save_model({"a": np.ones((40, 30))})
    store.write(state(3, finished=[ended(model)]), tensors(3))
    store.save_best({"a": np.ones(3)}, {})


def a_checkpoint_is_there(folder: Path, fault: str) -> None:
    assert newest(folder) in (2, 3)
    best = load_file(folder / "checkpoints" / BEST)["a"]
    assert best.tolist() in ([0.0] * 3, [1.0] * 3)
    if newest(folder) == 2:
        assert Store(folder).read(1).state.optimizer_steps == 1
        if fault == "full":
            nothing_half(folder)


def next_checkpoint(folder: Path) -> None:
    third_checkpoint(folder)
    assert newest(folder) == 3
    assert len(Store(folder).numbers) == 2
    nothing_half(folder)


# A run that goes on from the checkpoint before a damaged one.

ROWS = b'{"loss": 1.0}\n' * 20
HALF = Mark(size=len(ROWS) // 2, sha256=sha256(ROWS[: len(ROWS) // 2]).hexdigest())


def damaged_checkpoint(folder: Path) -> None:
    two_checkpoints(folder)
    (folder / "checkpoints" / "000002" / "state.json").write_bytes(b"{}")
    (folder / "metrics.jsonl").write_bytes(ROWS)


def go_on(folder: Path) -> None:
    opened = RunFolder.reopen(folder, HALF, first=lambda: Store(folder).forget_after(1))
    try:
        opened.record([{"loss": 2.0}])
        opened.finish()
    finally:
        opened.close()


def the_one_before_is_there(folder: Path, fault: str) -> None:
    assert newest(folder) == 1
    rows = (folder / "metrics.jsonl").read_bytes()
    assert rows[: HALF.size] == ROWS[: HALF.size]


def went_on(folder: Path) -> None:
    go_on(folder)
    assert (folder / "metrics.jsonl").read_bytes() == ROWS[: HALF.size] + b'{"loss":2.0}\n'
    assert Store(folder).numbers == [1]


# The files of a run folder.


def files_of(value: int) -> dict[str, Any]:
    return {SPEC: f"seed = {value}\n" * 50, RESULT: {"status": "complete", "seed": value}}


def write_files(folder: Path, value: int) -> None:
    found = files_of(value)
    run = object.__new__(RunFolder)  # without a lock and rows, which are not looked at here
    run.path = folder
    run.write(SPEC, found[SPEC])
    weights.save(folder / WEIGHTS, {"a": np.full(500, float(value))}, {})
    run.write_result(found[RESULT])


def whole_files(folder: Path, fault: str) -> None:
    both = files_of(1), files_of(2)
    assert (folder / SPEC).read_text() in [one[SPEC] for one in both]
    assert read_result(folder) in [one[RESULT] for one in both]
    values = load_file(folder / WEIGHTS)["a"]
    assert set(values.tolist()) in ({1.0}, {2.0})
    if read_result(folder)["seed"] == 2:
        assert set(values.tolist()) == {2.0}  # what says that it is complete is written last
    if fault == "full":
        nothing_half(folder)


def write_files_again(folder: Path) -> None:
    write_files(folder, 3)
    assert read_result(folder)["seed"] == 3
    nothing_half(folder)


# A complete run that is replaced.


def complete(folder: Path) -> None:
    write_files(folder, 1)
    two_checkpoints(folder)
    (folder / "metrics.jsonl").write_bytes(ROWS)
    (folder / "mine.txt").write_text("mine")


def overwrite(folder: Path) -> None:
    RunFolder.create(folder, overwrite=True).close()


def no_half_of_a_run(folder: Path, fault: str) -> None:
    assert (folder / "mine.txt").read_text() == "mine"
    if (folder / RESULT).exists():
        assert (folder / WEIGHTS).exists()
        assert newest(folder) == 2


def overwritten(folder: Path) -> None:
    overwrite(folder)
    left = {path.name for path in folder.iterdir()}
    assert left == {"mine.txt", "metrics.jsonl"}, left


# The cache of features.

KEYS = {value: sha256(str(value).encode()).hexdigest() for value in (1, 2)}


def keep_features(folder: Path, value: int) -> None:
    store = Features(folder, 1 << 20)
    numbers = np.full((50, 4), float(value), "<f4")
    with store.writing(KEYS[value], numbers.shape, numbers.dtype) as writer:
        writer.write(numbers)
        writer.finish({"model": "m"}, {})
    store.note(KEYS[value], {"8": True})


def whole_features(folder: Path, fault: str) -> None:
    said: list[str] = []
    store = Features(folder, 1 << 20, said.append)
    for value in (1, 2):
        found = store.find(KEYS[value])
        assert found is not None or value == 2
        if found is not None:
            assert (np.asarray(found.values) == value).all()
    assert not said, said


def keep_features_again(folder: Path) -> None:
    keep_features(folder, 2)
    found = Features(folder, 1 << 20).find(KEYS[2])
    assert found is not None
    assert found.same == {"8": True}


# What fast numerics remember.

AXES: Any = {"precision": ("float32", "bfloat16")}


def remember(folder: Path, setting: str) -> None:
    choice = Choice(
        purpose="training", title="t", subject="s", settings={"precision": setting}, seconds=1.0,
        reference_seconds=1.0, error=0.0, tolerance=0.0, tried=[],
    )  # fmt: skip
    failed = Memory(folder).keep("key", choice)
    if failed:
        raise OSError(failed)


def one_choice(folder: Path, fault: str) -> None:
    choice, why = Memory(folder).recall("key", "s", AXES)
    assert choice is not None, why
    assert choice.settings["precision"] in AXES["precision"]


def remember_again(folder: Path) -> None:
    remember(folder, "bfloat16")
    choice, _ = Memory(folder).recall("key", "s", AXES)
    assert choice is not None
    assert choice.settings["precision"] == "bfloat16"


SCENARIOS = {
    "checkpoint": Scenario(
        two_checkpoints, third_checkpoint, a_checkpoint_is_there, next_checkpoint
    ),
    "going on": Scenario(damaged_checkpoint, go_on, the_one_before_is_there, went_on),
    "run folder": Scenario(
        lambda folder: write_files(folder, 1), lambda folder: write_files(folder, 2), whole_files,
        write_files_again,
    ),
    "overwriting": Scenario(complete, overwrite, no_half_of_a_run, overwritten),
    "features": Scenario(
        lambda folder: keep_features(folder, 1), lambda folder: keep_features(folder, 2),
        whole_features, keep_features_again,
    ),
    "tuning": Scenario(
        lambda folder: remember(folder, "float32"), lambda folder: remember(folder, "bfloat16"),
        one_choice, remember_again,
    ),
}  # fmt: skip

__all__ = ["SCENARIOS", "json"]
