"""What a run does when its disk is full, its folder goes, or somebody sets the clock."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command import python
from experiments import changed
from resumed import TWELVE

# Runs the spec once undisturbed, and once while the disk is full from step 3 to 8; then once for
# each thing that is done to the folder at step 5, and again by the same command.
PROGRAM = """
import errno, json, shutil, sys, time
from pathlib import Path
import paribus
from paribus import durable
from paribus.progress import Progress

spec = paribus.load(json.loads(sys.argv[1]))
put, failing, found = durable.put, {}, {}

def putting(file, content):
    if failing:
        raise OSError(failing["errno"], "No space left on device")
    put(file, content)

durable.put = putting

class Watching(Progress):
    def __init__(self, at):
        self.at, self.steps, self.said = at, 0, []
    def advance(self, steps, loss):
        self.steps += steps
        for step, action in list(self.at.items()):
            if self.steps >= step:
                self.at.pop(step)()
    def warn(self, message):
        self.said.append(message)

def full():
    failing["errno"] = errno.ENOSPC

def clocks():
    time.time = lambda: -1e9

once = paribus.run(spec, out="once")

def same(run):
    keys = ("weights_hash", "test")
    return run.history == once.history and all(run.metrics[k] == once.metrics[k] for k in keys)

watching = Watching({3: full, 8: failing.clear})
run = paribus.run(spec, out="full", progress=watching)
told = run.metrics["legs"][0]["warnings"]
found["full"] = [same(run), watching.said == told, told]

def gone(folder):
    # By a name of its own first: a state may be written into it at this moment.
    away = folder.rename(folder.with_name("away-" + str(len(list(folder.parent.iterdir())))))
    shutil.rmtree(away, ignore_errors=True)

def removed(folder):
    gone(folder)

def readonly(folder):
    failing["errno"] = errno.EROFS

def a_file(folder):
    kept = folder / "checkpoints"
    while not kept.is_file():  # the thread that writes states may make the folder again
        if kept.is_dir():
            gone(kept)
        try:
            kept.write_text("a file")
        except IsADirectoryError:
            pass

for fault in (removed, readonly, a_file):
    folder = Path(fault.__name__)
    try:
        paribus.run(spec, out=folder, progress=Watching({5: lambda: fault(folder)}))
    except paribus.ParibusError as error:
        said = [type(error).__name__, str(error)]
    failing.clear()
    if (folder / "checkpoints").is_file():
        (folder / "checkpoints").unlink()
    again = paribus.run(spec, out=folder, progress=Watching({}))
    found[fault.__name__] = [*said, same(again), len(again.metrics["legs"])]

def numbers(value):
    if isinstance(value, dict):
        for key, one in value.items():
            if "seconds" in key and isinstance(one, (int, float)):
                yield one
            yield from numbers(one)
    elif isinstance(value, list):
        for one in value:
            yield from numbers(one)

real = time.time
run = paribus.run(spec, out="clock", progress=Watching({5: clocks}))
time.time = real
found["clock"] = [same(run), min(numbers(run.metrics))]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    tree = changed(TWELVE, checkpoints={"steps": 1})
    return python(PROGRAM, json.dumps(tree), cwd=tmp_path_factory.mktemp("disk"))


def test_a_run_outlives_a_disk_that_is_full_for_a_while(found: Any) -> None:
    """No row and no bit is missing at the end, and what happened is written down."""
    same, told_both, warnings = found["full"]
    assert same
    assert told_both
    assert any("its rows are held in memory" in one for one in warnings)
    assert any("could not be kept" in one and "tries again" in one for one in warnings)


@pytest.mark.parametrize(
    ("fault", "legs"),
    [
        ("removed", 1),  # nothing is left, so it begins at its beginning
        ("readonly", 2),
        ("a_file", 1),
    ],
)
def test_what_cannot_be_mended_by_waiting_ends_the_run(found: Any, fault: str, legs: int) -> None:
    kind, message, same, count = found[fault]
    assert kind == "RunFolderError"
    assert "cannot be written" in message
    assert same
    assert count == legs


def test_nobody_can_set_the_clock_of_a_run(found: Any) -> None:
    same, least = found["clock"]
    assert same
    assert least >= 0


def test_the_cadence_asks_a_clock_that_only_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    from paribus.runstate.cadence import Cadence
    from paribus.spec.resuming import Checkpoints

    now = [0.0]
    cadence = Cadence(Checkpoints(minutes=1.0), 0, clock=lambda: now[0])
    monkeypatch.setattr("time.time", lambda: 1e12)
    assert not cadence.due(5)
    now[0] = 60.0
    assert cadence.due(5)
    cadence.rest(5)
    assert not cadence.due(5)


def test_the_best_weights_so_far_are_there_on_the_way(tmp_path: Path) -> None:
    program = """
import json, sys, paribus
from pathlib import Path
from safetensors import safe_open
tree = json.loads(sys.argv[1])
run = paribus.run(paribus.load(tree), out="run", stop_after=8)
with safe_open("run/checkpoints/best.safetensors", "numpy") as file:
    told = json.loads(file.metadata()["paribus"])
    best = {name: file.get_tensor(name) for name in file.keys()}
tree["finetune"]["epochs"] = 2  # as far as it has come
short = paribus.run(paribus.load(tree | {"finetune": tree["finetune"]}), out="short")
from safetensors.numpy import load_file
final = load_file("short/weights.safetensors")
same = all((best[name] == final[name]).all() for name in final) and set(best) == set(final)
paribus.run(paribus.load(json.loads(sys.argv[1])), resume="run")
print(json.dumps([same, told["architecture"], Path("run/checkpoints").exists()]))
"""
    tree = changed(TWELVE, finetune__schedule=None)
    assert python(program, json.dumps(tree), cwd=tmp_path) == [True, "cnn", False]
