"""``kill -9`` at random moments of an experiment of all four steps, gone on with until it ends.

    python tests/killing.py                       200 kills, over all four backends, as a table
    python tests/killing.py --kills 20 --backends torch,jax --seed 3 --folder /dev/shm/kills

The same command is given again and again. While it runs it is killed: at a moment drawn over the
time that the whole run takes; shortly after a drawn row of ``metrics.jsonl`` is there, so that
moments do not gather where a framework compiles; or while a state is being written. When an
attempt comes to its end, the run is compared with one that nobody disturbed: bit for bit in rows,
choices, test and weights.

Importing a framework takes longer than the run, so a child imports it once and forks for each
attempt; what is killed is a process that has done nothing yet but import.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from command import THREADS, Done, Run
from experiments import Tree, changed
from labs import PROMISED
from resumed import ALL, same

STEPS = ("pretrain", "select", "optimize", "finetune")
IMPORTS = {"torch": "torch", "tensorflow": "tensorflow", "huggingface": "transformers",
           "jax": "jax"}  # fmt: skip
# Small, because every attempt compiles anew: all four steps on perceptrons, two folds.
TREE: Tree = changed(
    ALL,
    checkpoints={"steps": 3},
    model={"architecture": "mlp", "hidden": [6]},
    select__folds=2,
    select__candidates=[
        {"name": "narrow"},
        {"name": "wide", "model": {"architecture": "mlp", "hidden": [8]}},
    ],
    optimize__trials=4,
)
ENDLESS = 600.0

# Imports a framework, then forks for each line that it reads: the arguments of a command.
NURSERY = """
import importlib, json, os, sys
import numpy, sklearn.datasets, optuna, safetensors.numpy
importlib.import_module(sys.argv[1])
from paribus.cli import main
answers = os.fdopen(int(sys.argv[2]), "w")
print("ready", file=answers, flush=True)
for line in sys.stdin:
    child = os.fork()
    if not child:
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os._exit(main(json.loads(line)))
    print(child, file=answers, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)
"""


class Nursery:
    """A child that has imported a backend's framework, and forks a process for each command."""

    def __init__(self, backend: str, folder: Path) -> None:
        reader, writer = os.pipe()
        self.folder = folder
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-c", NURSERY, IMPORTS[backend], str(writer)],
            stdin=subprocess.PIPE, env={**os.environ, **THREADS}, pass_fds=(writer,), cwd=folder,
            text=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(writer)
        self._answers = os.fdopen(reader)
        assert self._answers.readline() == "ready\n"

    def start(self, arguments: list[str]) -> int:
        """Start a command; return its process."""
        assert self._child.stdin is not None
        print(json.dumps(arguments), file=self._child.stdin, flush=True)
        return int(self._answers.readline())

    def wait(self) -> Done:
        """Wait for the command's end."""
        code = int(self._answers.readline())
        log = self.folder / "log.txt"
        return Done(code, log.read_text() if log.exists() else "", "")

    def close(self) -> None:
        self._child.kill()
        self._child.wait()
        self._answers.close()


@dataclass
class Killing:
    """Kills the runs of one backend.

    Attributes:
        phases: how many kills hit what.
        runs: that were begun.
    """

    nursery: Nursery
    backend: str
    random: random.Random
    phases: Counter[str] = field(default_factory=Counter)
    runs: int = 0

    def __post_init__(self) -> None:
        self.folder = self.nursery.folder
        (self.folder / "spec.json").write_text(json.dumps(TREE))
        began = time.monotonic()
        self.nursery.start(self._command("whole"))
        self.whole = Run(self.folder / "whole", self.nursery.wait())
        assert self.whole.done.code == 0, self.whole.done.out
        self.seconds = time.monotonic() - began
        self.rows = len(self.whole.rows())

    def kill(self, most: int) -> None:
        """Kill one run up to ``most`` times, and let it end.

        Raises:
            AssertionError: it could not go on, or ended otherwise than the undisturbed one.
        """
        name, kills = f"run{self.runs}", 0
        self.runs += 1
        # In their order, because going on begins where the one before has come to.
        places = sorted(self.random.randint(0, self.rows) for _ in range(most))
        while True:
            done = self._attempt(name, places[kills] if kills < most else None)
            if done.code != -signal.SIGKILL:
                break
            kills += 1
            self.phases[phase(self.folder / name)] += 1
        if done.code and Run(self.folder / name, done).result["status"] == "complete":
            # Killed between its last word and its end: --out refuses what is finished.
            self.nursery.start([*self._command(name)[:-2], "--resume", name])
            done = self.nursery.wait()
        assert done.code == 0, f"{name} after {kills} kills: {done.out}"
        same(Run(self.folder / name, done), self.whole)

    def _attempt(self, name: str, place: int | None) -> Done:
        process = self.nursery.start(self._command(name))
        if place is not None:
            self._wait(self.folder / name, place)
            with suppress(ProcessLookupError):  # it may have come to its end
                os.kill(process, signal.SIGKILL)
        return self.nursery.wait()

    def _wait(self, run: Path, place: int) -> None:
        """Wait for the moment that is drawn: a time, a row, or a state that is being written."""
        draw, kind = self.random, self.random.random()
        if kind < 0.25:
            time.sleep(draw.uniform(0, self.seconds))
            return
        late = time.monotonic() + 3 * self.seconds
        while count(run / "metrics.jsonl") < place and time.monotonic() < late:
            time.sleep(0.001)
        if kind < 0.5:
            while not writing(run) and time.monotonic() < late:
                time.sleep(0.0005)
        else:
            time.sleep(draw.uniform(0, 0.03))

    def _command(self, name: str) -> list[str]:
        return ["run", "spec.json", "--backend", self.backend, "--out", name]


def count(rows: Path) -> int:
    """Return how many rows a file has."""
    return rows.read_bytes().count(b"\n") if rows.exists() else 0


def writing(folder: Path) -> bool:
    """Return whether a state is being written or removed."""
    found = folder / "checkpoints"
    return any(found.glob("*.partial")) or any(found.glob("models/*.partial"))


def phase(folder: Path) -> str:
    """Return what a run was about when it was killed, as its folder says."""
    if writing(folder):
        return "writing a state"
    rows = folder / "metrics.jsonl"
    lines = rows.read_bytes().split(b"\n")[:-1] if rows.exists() else []
    if not lines:
        return "starting"
    step = str(json.loads(lines[-1])["step"])
    return step if step in STEPS else "ending"


def main() -> int:
    """Kill, print the table; the exit code says whether every run ended as it should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--backends", default=",".join(PROMISED))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=6, help="kills of one run, at most")
    parser.add_argument("--minutes", type=float, default=ENDLESS, help="after which none begins")
    parser.add_argument(
        "--folder", type=Path, help="on the disk to write to; by default that of temporary files"
    )
    options = parser.parse_args()
    names = options.backends.split(",")
    phases = ("starting", *STEPS, "writing a state", "ending")
    print("| backend | kills | " + " | ".join(phases) + " | runs | as the undisturbed one |")
    print("|---|" + "---|" * (len(phases) + 3), flush=True)
    failed, killed = 0, 0
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as root:
        for number, name in enumerate(names):
            late = time.monotonic() + 60 * options.minutes / len(names)
            folder = Path(root) / name
            folder.mkdir()
            nursery = Nursery(name, folder)
            killing = Killing(nursery, name, random.Random(f"{options.seed} {name}"))
            wanted = options.kills * (number + 1) // len(names) - options.kills * number // len(
                names
            )
            bad = 0
            while (left := wanted - killing.phases.total()) > 0 and time.monotonic() < late:
                try:
                    killing.kill(min(left, options.each))
                except AssertionError as error:
                    bad += 1
                    print(f"{name}: {error}", file=sys.stderr, flush=True)
            nursery.close()
            hit = " | ".join(str(killing.phases[phase]) for phase in phases)
            runs = killing.runs
            print(f"| {name} | {killing.phases.total()} | {hit} | {runs} | {runs - bad} |",
                  flush=True)  # fmt: skip
            failed, killed = failed + bad, killed + killing.phases.total()
    print(f"\n{killed} kills, {failed} runs that did not end as the undisturbed one")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
