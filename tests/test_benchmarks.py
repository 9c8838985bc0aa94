"""The benchmarks' command still runs; how fast anything is, they are asked elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(__file__).parents[1] / "benchmarks" / "run.py"


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, COMMAND, *words], capture_output=True, text=True)


def test_a_quick_run_compares_equal_work_and_writes_it_down(tmp_path: Path) -> None:
    done = _run(
        "--only", "steps", "--quick", "--rounds", "1", "--threads", "1", "--no-plots",
        "--out", str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "steps.json").read_text())
    assert kept["hardware"]["cores"] >= 1
    assert {"paribus", "numpy", "torch"} <= set(kept["versions"])
    rival, own = kept["report"]["data"]["works"]["mlp"]
    assert (rival["title"], own["title"]) == ("hand-written PyTorch", "paribus torch, strict")
    # The same network, weights, batches and optimizer: after an epoch float32's rounding is left.
    assert own["loss"] == pytest.approx(rival["loss"], rel=1e-5)
    assert len(own["seconds"]) == len(rival["seconds"]) == 1
    assert "| MLP 8×8 | paribus torch, strict |" in (tmp_path / "RESULTS.md").read_text()


def test_an_unknown_section_is_refused_with_those_that_there_are() -> None:
    done = _run("--only", "speed", "--no-plots")
    assert done.returncode == 2
    assert "--only speed: allowed are steps, frozen, trials, startup" in done.stderr


FAILING = """
import json, sys
sys.path.insert(0, sys.argv[1])
from measuring import Contender, ChildFailed, interleaved

def found(go_on, *setups):
    contenders = [Contender(setup, f"contenders:{setup}") for setup in setups]
    try:
        measured = interleaved(contenders, 1, first=1, rounds=2, threads=1, go_on=go_on)
    except ChildFailed as error:
        return str(error).splitlines()[-1]
    return [[one.title, len(one.seconds), one.failed] for one in measured]

print(json.dumps([found(True, "fine", "late", "never"), found(False, "fine", "late"),
                  found(True, "never", "fine")]))
"""
CONTENDERS = """
def fine():
    return lambda amount: None

def late():
    turns = []
    def run(amount):
        turns.append(amount)
        if len(turns) > 2:
            raise RuntimeError("out of luck")
    return run

def never():
    raise OSError("not here")
"""


def test_a_contender_that_fails_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    (tmp_path / "contenders.py").write_text(CONTENDERS)
    done = subprocess.run(
        [sys.executable, "-c", FAILING, str(COMMAND.parent)], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    late, never = "RuntimeError: out of luck", "OSError: not here"
    expected = [["fine", 2, ""], ["late", 1, late], ["never", 0, never]]
    assert json.loads(done.stdout) == [expected, late, never]
    assert "late is left out" in done.stderr
