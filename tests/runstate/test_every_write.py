"""A power cut, a full disk and a read-only one at every call of every write: nothing good is lost.

``tests/faulty.py`` does the work once for each call that it makes to the disk, and fails there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import THREADS

# What is interrupted → how many calls it makes at least, so that no hook is left out unnoticed.
CALLS = {
    "checkpoint": 30,
    "going on": 10,
    "run folder": 15,
    "overwriting": 12,
    "features": 12,
    "tuning": 2,
}


@pytest.mark.parametrize("fault", ["crash", "full", "readonly"])
@pytest.mark.parametrize("scenario", CALLS)
def test_at_every_call(tmp_path: Path, scenario: str, fault: str) -> None:
    script = Path(__file__).parents[1] / "faulty.py"
    done = subprocess.run(
        [sys.executable, str(script), scenario, fault, str(tmp_path / "disk")],
        env={**os.environ, **THREADS}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not found["wrong"], "\n".join(found["wrong"]) + done.stderr
    assert sum(found["calls"].values()) >= CALLS[scenario], found["calls"]
    if fault == "full":
        assert found["failed"] > 0
