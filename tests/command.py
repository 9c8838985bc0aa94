"""Driving the ``paribus`` command as its users do, and reading the run folders that it leaves.

Importing a framework takes seconds, so besides ``process``, a process of its own for one command,
there is ``Worker``: one child that takes one command after another. Both start without the tests'
folder on the module path and compute with one thread, because the networks are tiny.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
from safetensors.numpy import load_file

Tree = dict[str, Any]
Rows = list[dict[str, Any]]

THREADS = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "TF_NUM_INTRAOP_THREADS",
        "TF_NUM_INTEROP_THREADS",
        "NPROC",
        "PJRT_NPROC",
    ),
    "1",
)

# A child that runs a command per line of its standard input. What a framework prints around
# Python's own streams stays off the answers, which have a pipe to themselves.
_CHILD = """
import contextlib, io, json, os, sys
from paribus.cli import main

answers = os.fdopen(int(sys.argv[1]), "w")
for line in sys.stdin:
    request = json.loads(line)
    os.chdir(request["cwd"])
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(request["arguments"])
    print(json.dumps([code, out.getvalue(), err.getvalue()]), file=answers, flush=True)
"""


@dataclass(frozen=True)
class Done:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Everything that it printed, on single spaces, as line breaks depend on the width."""
        return " ".join((self.out + " " + self.err).split())


@dataclass(frozen=True)
class Run:
    """A run folder, and the command that left it."""

    folder: Path
    done: Done

    @property
    def result(self) -> Tree:
        found: Tree = json.loads((self.folder / "result.json").read_text())
        return found

    @property
    def steps(self) -> Tree:
        found: Tree = self.result["steps"]
        return found

    def rows(self, **wanted: Any) -> Rows:
        """Return the rows of ``metrics.jsonl`` that have these values."""
        lines = (self.folder / "metrics.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        return [r for r in rows if all(r.get(key) == value for key, value in wanted.items())]

    def losses(self, **wanted: Any) -> list[float]:
        """Return the losses of the optimizer steps that have these values."""
        return [row["loss"] for row in self.rows(split="train", **wanted)]

    def tensors(self, name: str = "weights") -> dict[str, npt.NDArray[Any]]:
        return dict(load_file(self.folder / f"{name}.safetensors"))


def process(
    *arguments: str | Path, cwd: Path, environment: Mapping[str, str] | None = None
) -> Done:
    """Run ``paribus ARGUMENTS`` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "paribus.cli", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **THREADS, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def python(program: str, *arguments: str | Path, cwd: Path) -> Any:
    """Run a program in a process of its own; return the JSON of the last line that it prints."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **THREADS},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def refused(done: Done, code: int, *words: str) -> None:
    """Assert the exit code, and that one message on standard error holds the words."""
    assert done.code == code, done.said
    assert done.out == ""
    assert done.err.startswith("paribus: ")
    assert done.err.count("paribus: ") == 1
    assert "Traceback" not in done.err
    assert "internal error" not in done.err
    for word in words:
        assert word in " ".join(done.err.split())


class Worker:
    """A child that runs one command after another; its standard error goes to a file."""

    def __init__(self) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (close() closes it)
        reader, writer = os.pipe()
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-c", _CHILD, str(writer)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, **THREADS},
            pass_fds=(writer,),
            text=True,
        )
        os.close(writer)
        self._answers = os.fdopen(reader)

    def __call__(self, *arguments: str | Path, cwd: Path) -> Done:
        request = {"arguments": [str(argument) for argument in arguments], "cwd": str(cwd)}
        assert self._child.stdin is not None
        print(json.dumps(request), file=self._child.stdin, flush=True)
        answer = self._answers.readline()
        if not answer:
            self._log.seek(0)
            raise AssertionError(f"the worker is dead: {self._log.read().decode()}")
        return Done(*json.loads(answer))

    def close(self) -> None:
        self._child.kill()
        self._child.wait()
        self._answers.close()
        self._log.close()


class Runner:
    """Runs specs below one folder."""

    def __init__(self, folder: Path, worker: Worker) -> None:
        self.folder, self.worker = folder, worker

    def write(self, tree: Mapping[str, Any], name: str = "spec.json") -> Path:
        path = self.folder / name
        path.write_text(json.dumps(tree))
        return path

    def attempt(self, tree: Mapping[str, Any], *options: str, out: str = "out") -> Run:
        """Run a spec, whatever comes of it."""
        spec = self.write(tree, f"{out}.json")
        done = self.worker("run", spec, "--out", out, *options, cwd=self.folder)
        return Run(self.folder / out, done)

    def __call__(self, tree: Mapping[str, Any], *options: str, out: str = "out") -> Run:
        """Run a spec that must come to its end."""
        run = self.attempt(tree, *options, out=out)
        assert run.done.code == 0, run.done.err
        return run
