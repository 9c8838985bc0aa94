"""Running the suite as a third party does: a distribution, a test file, pytest, a summary."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "conformance"

FILE = """
import pytest
from paribus.testing.suite import *


@pytest.fixture(scope="session")
def backend() -> str:
    return {backend!r}
"""


def install(folder: Path, module: str, backends: Mapping[str, str]) -> None:
    """Write a distribution with the ``module`` of tests/conformance, and its entry points."""
    (folder / f"{module}.py").write_text((HERE / f"{module}.py").read_text())
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    entries = "".join(f"{name} = {module}:{value}\n" for name, value in backends.items())
    (info / "entry_points.txt").write_text(f"[paribus.backends]\n{entries}")


def run(
    folder: Path, files: Mapping[str, str], *options: str
) -> tuple[dict[str, dict[str, Any]], subprocess.CompletedProcess[str]]:
    """Run test files (name → text) in a process of its own; return checks by backend, and it."""
    for name, text in files.items():
        (folder / f"test_{name}.py").write_text(text)
    summary = folder / "summary.json"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib",
         "-p", "paribus.testing.plugin", "--conformance", summary, f"--rootdir={folder}",
         *(f"test_{name}.py" for name in files), *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    found = json.loads(summary.read_text())["backends"] if summary.exists() else {}
    return {name: own["checks"] for name, own in found.items()}, done


def ended(checks: Mapping[str, Mapping[str, Any]], outcome: str) -> set[str]:
    """Return the names of checks that ended so."""
    return {name for name, entry in checks.items() if entry["outcome"] == outcome}
