"""Run the conformance suite on every installed backend and write docs/conformance.md.

    python scripts/conformance.py                 all that are registered and installed
    python scripts/conformance.py torch jax       these; the page then has only them
    python scripts/conformance.py --keep FOLDER   and keep the summaries, FOLDER/NAME.json

Each backend is tested by a pytest of its own, which runs it in a child process, as an adapter's
author does. The program leaves with 1 where a check fails.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from paribus import registry
from paribus.testing import checks

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "conformance.md"
# Where one of ours has its test file, with its table of known failures.
OWN = ROOT / "tests" / "adapters"
TEST = """
import pytest
from paribus.testing.suite import *


@pytest.fixture(scope="session")
def backend() -> str:
    return {backend!r}
"""
BAD = ("failed", "xfailed")

INTRODUCTION = """# Conformance

What every adapter owes is in `core/adapter.py`; `paribus.testing` has it as tests, and this page
has what came of them. `python scripts/conformance.py` runs them and writes it.

A cell is *passed / applicable*. What a backend does not claim does not apply: it is listed below,
and counts neither as passed nor as failed. Scenes are compared with golden tensors in float64 that
PyTorch, TensorFlow and a plain NumPy reference agree on to 1e-11; allowed is 1e-10.
"""


def installed() -> list[str]:
    """Return the names of the backends whose packages are there."""
    return [name for name in registry.names() if registry.get(name).available() is None]


def run(backend: str, keep: Path | None) -> dict[str, Any]:
    """Return the summary of a backend's run; ends the program where there is none."""
    with tempfile.TemporaryDirectory() as folder:
        file, summary = OWN / f"test_conformance_{backend}.py", Path(folder) / "summary.json"
        if not file.exists():
            file = Path(folder) / "test_conformance.py"
            file.write_text(TEST.format(backend=backend))
        if keep is not None:
            summary = keep.absolute() / f"{backend}.json"
            summary.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
             "-p", "paribus.testing.plugin", "--conformance", summary, file],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )  # fmt: skip
        print(f"{backend}: {done.stdout.strip().splitlines()[-1]}", flush=True)
        if not summary.exists():
            raise SystemExit(f"{backend}: pytest wrote no summary\n{done.stdout}")
        return dict(json.loads(summary.read_text())["backends"][backend])


def page(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the Markdown of docs/conformance.md."""
    names = list(found)
    lines = [INTRODUCTION, f"Python {platform.python_version()}, {platform.machine()}, CPU.", ""]
    lines += [f"| | {' | '.join(found[name]['title'] for name in names)} |", _rule(names)]
    versions = [", ".join(f"{p} {v}" for p, v in found[n]["versions"].items()) for n in names]
    lines.append(f"| versions | {' | '.join(versions)} |")
    for group in dict.fromkeys(checks.group(check) for check in checks.names()):
        cells = [_cell(_of(found[name]["checks"], group)) for name in names]
        lines.append(f"| {group} | {' | '.join(cells)} |")
    cells = [_cell(found[name]["checks"]) for name in names]
    lines += [f"| **all** | {' | '.join(f'**{cell}**' for cell in cells)} |", ""]
    lines += ["## Not claimed", ""]
    lines += [line for name in names for line in _unclaimed(found[name])]
    lines += ["", "## Failures", ""]
    lines += [line for name in names for line in _failures(found[name])] or ["None is known."]
    return "\n".join(lines) + "\n"


def _rule(names: Iterable[str]) -> str:
    return "|---|" + "---|" * len(list(names))


def _of(entries: Mapping[str, Any], group: str) -> dict[str, Any]:
    return {name: entry for name, entry in entries.items() if checks.group(name) == group}


def _cell(entries: Mapping[str, Any]) -> str:
    counts = Counter(entry["outcome"] for entry in entries.values())
    applicable = sum(counts.values()) - counts["not claimed"]
    return f"{counts['passed']} / {applicable}" if applicable else "–"


def _unclaimed(backend: Mapping[str, Any]) -> list[str]:
    reasons = Counter(
        entry["reason"].partition("not claimed: ")[2]
        for entry in backend["checks"].values()
        if entry["outcome"] == "not claimed"
    )
    if not reasons:
        return [f"- {backend['title']}: nothing; every check applies"]
    said = "; ".join(f"{reason} ({count})" for reason, count in sorted(reasons.items()))
    return [f"- {backend['title']}: {said}"]


def _failures(backend: Mapping[str, Any]) -> list[str]:
    return [
        f"- {backend['title']}, `{name}`, {'known' if entry['outcome'] == 'xfailed' else 'new'}: "
        f"{entry['reason']}"
        for name, entry in backend["checks"].items()
        if entry["outcome"] in BAD
    ]


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("backends", nargs="*", help="all that are installed, by default")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the summaries there")
    arguments = parser.parse_args()
    found = {name: run(name, arguments.keep) for name in arguments.backends or installed()}
    PAGE.write_text(page(found), encoding="utf-8")
    print(f"{PAGE}: written")
    outcomes = [entry["outcome"] for own in found.values() for entry in own["checks"].values()]
    sys.exit(1 if "failed" in outcomes else 0)


if __name__ == "__main__":
    main()
