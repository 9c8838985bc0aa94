"""A run that is stopped from outside, gently or not, goes on to the same end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import THREADS, Done, Run, Runner
from experiments import Tree, changed, small
from resumed import same

# Two optimizer steps an epoch: long enough to be hit on the way, and a few seconds in all.
LONG = small(finetune__epochs=400, finetune__optimizer={"name": "adam"})


def start(run: Runner, tree: Tree, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "paribus.cli", "run", str(run.write(tree)), *options],
        cwd=run.folder,
        env={**os.environ, **THREADS},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_rows(folder: Path, rows: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        path = folder / "metrics.jsonl"
        if path.exists() and path.read_text().count("\n") >= rows:
            return
        time.sleep(0.01)
    raise AssertionError(f"{folder} has no {rows} rows after two minutes")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_from_outside(run: Runner, sent: signal.Signals) -> None:
    """Signals that can be heard lose nothing; after the other one a checkpoint is gone on from."""
    tree = changed(LONG, checkpoints={"steps": 40})
    child = start(run, tree, "--out", "out")
    try:
        wait_for_rows(run.folder / "out", 150)
        child.send_signal(sent)
        child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == {"SIGINT": 130, "SIGTERM": 143, "SIGKILL": -9}[sent.name]
    killed = Run(run.folder / "out", Done(child.returncode, "", ""))
    before = killed.result
    assert before["status"] == ("running" if sent is signal.SIGKILL else "interrupted")
    if sent is not signal.SIGKILL:
        assert before["optimizer_steps"] == len(killed.losses())
    done = run.worker("run", run.write(tree), "--resume", "out", cwd=run.folder)
    assert done.code == 0, done.err
    found = Run(run.folder / "out", done)
    assert found.result["legs"][1]["after_step"] >= 40
    same(found, run(LONG, out="once"))


def test_a_second_signal_acts_at_once() -> None:
    """The first one waits for the steps under way, of which one is endless here."""
    program = """
import os, signal, sys, time
from paribus.runstate.interruption import Interruption

def handled(number, frame):
    print("handled", flush=True)
    raise KeyboardInterrupt

signal.signal(signal.SIGTERM, handled)
with Interruption() as interruption:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.1)
    print(interruption.received == signal.SIGTERM, flush=True)
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    except KeyboardInterrupt:
        print("ended", flush=True)
print(signal.getsignal(signal.SIGTERM) is handled, flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    assert done.stdout.split() == ["True", "handled", "ended", "True"]


def test_whoever_lets_a_run_go_on_is_asked_again(run: Runner) -> None:
    """A handler that only takes note: the run keeps its state each time and comes to its end."""
    program = """
import json, os, signal, sys, paribus
from paribus.progress import Progress

noted = []
signal.signal(signal.SIGTERM, lambda number, frame: noted.append(number))

class Sending(Progress):
    sent = 0
    def advance(self, steps, loss):
        if self.sent < 2 and len(noted) == self.sent:
            self.sent += 1
            os.kill(os.getpid(), signal.SIGTERM)

spec = paribus.load(json.loads(sys.argv[1]))
once = paribus.run(spec, out="once")
run = paribus.run(spec, out="run", progress=Sending())
print(noted == [signal.SIGTERM] * 2, run.metrics["status"], run.history == once.history)
"""
    tree = json.dumps(small(finetune__epochs=30))
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, tree], capture_output=True, text=True, check=False,
        cwd=run.folder, env={**os.environ, **THREADS}, timeout=120,
    )  # fmt: skip
    assert done.stdout.split() == ["True", "complete", "True"], done.stderr
