"""The example on Fashion-MNIST at full size, as the README says it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from labs import PROMISED

EXAMPLE = Path(__file__).parents[2] / "examples" / "fashion.toml"


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_fashion_mnist_reaches_the_same_accuracy_on_every_backend(tmp_path: Path) -> None:
    found = {}
    for name in PROMISED:
        command = [sys.executable, "-P", "-m", "paribus.cli", "run", EXAMPLE, "--quiet"]
        place = ["--backend", name, "--device", "cpu", "--out", tmp_path / name]
        subprocess.run([*command, *place], check=True, stdin=subprocess.DEVNULL)
        found[name] = json.loads((tmp_path / name / "result.json").read_text())["test"]["accuracy"]
    assert min(found.values()) >= 0.90
    assert max(found.values()) - min(found.values()) <= 0.01
