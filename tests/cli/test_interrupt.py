"""Ctrl-C and SIGTERM: the run keeps its state, says how to go on, and what was measured is read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import THREADS, Runner
from experiments import small


@pytest.mark.parametrize(
    ("verbose", "sent", "code", "word"),
    [
        (False, signal.SIGINT, 130, "interrupted"),
        (True, signal.SIGINT, 130, "interrupted"),
        (False, signal.SIGTERM, 143, "terminated"),
    ],
)
def test_an_interrupted_run(
    run: Runner, verbose: bool, sent: signal.Signals, code: int, word: str
) -> None:
    spec = run.write(small(finetune__epochs=1_000_000))
    folder = run.folder / "out"
    options = ["--out", str(folder), *(["--verbose"] if verbose else [])]
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "paribus.cli", "run", str(spec), *options],
        cwd=run.folder,
        env={**os.environ, **THREADS},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _wait_for(folder / "metrics.jsonl", rows=100)
        child.send_signal(sent)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == code
    assert out == ""
    going_on = f"paribus run {folder / 'spec.toml'} --resume {folder}"
    assert err.splitlines() == [f"paribus: go on with: {going_on}", f"paribus: {word}"]
    assert json.loads((folder / "result.json").read_text())["status"] == "interrupted"
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) >= 100
    # nothing half-written is left, and the same command can be given again
    names = {path.name for path in folder.iterdir()}
    assert names == {"spec.toml", "metrics.jsonl", "result.json", "checkpoints"}
    held = {path.name for path in (folder / "checkpoints").iterdir()}
    assert held == {"000001", "best.safetensors"}
    again = run(small(finetune__epochs=1), "--overwrite")
    assert again.result["status"] == "complete"
    assert not (folder / "checkpoints").exists()


def _wait_for(path: Path, rows: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if path.exists() and path.read_text().count("\n") >= rows:
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} has no {rows} rows after two minutes")
