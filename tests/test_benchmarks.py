"""The benchmarks' command still runs; how fast anything is, they are asked elsewhere."""

from __future__ import annotations

import json
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
