"""How far from the uninterrupted run ends a run that changed its backend? Prints a Markdown table.

    python benchmarks/resume.py                                  examples/digits.toml, all pairs
    python benchmarks/resume.py --backends torch,tensorflow      some of them
    python benchmarks/resume.py --spec mine.toml --set finetune.epochs=3 --at 0.25,0.75

For every ordered pair of backends, and every place: begun on the first one, stopped after that
share of all optimizer steps, gone on with on the second one. The weights at the end are compared
with those of the second backend's uninterrupted run, in float64: per tensor the largest difference
over the largest weight, and of these the largest. Each run is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file


def paribus(*arguments: str | Path) -> None:
    """Run ``paribus run ARGUMENTS``."""
    command = [sys.executable, "-P", "-m", "paribus.cli", "run", *map(str, arguments), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")


def steps(run: Path) -> int:
    """Return the optimizer steps of a run."""
    return int(json.loads((run / "result.json").read_text())["optimizer_steps"])


def difference(run: Path, reference: Path) -> float:
    """Return the largest relative difference of the final weights.

    Without the biases of attention's keys: no softmax depends on them, so they hold rounding.
    """
    ours, theirs = (load_file(path / "weights.safetensors") for path in (run, reference))
    return max(
        float(np.abs(ours[name] - array).max() / max(float(np.abs(array).max()), 1e-300))
        for name, array in theirs.items()
        if not name.endswith("attention.self.key.bias")
    )


def rows(run: Path) -> list[str]:
    """Return what was measured, a line each."""
    return (run / "metrics.jsonl").read_text().splitlines()


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", default=str(Path(__file__).parents[1] / "examples/digits.toml"))
    parser.add_argument("--backends", default="torch,tensorflow,huggingface,jax")
    parser.add_argument("--at", default="0.1,0.5,0.9", help="shares of all optimizer steps")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    options = parser.parse_args()
    names, places = options.backends.split(","), [float(at) for at in options.at.split(",")]
    overrides = [part for text in ["precision=float64", *options.overrides]
                 for part in ("--set", text)]  # fmt: skip
    print("| begun on | gone on with on | " + " | ".join(f"at {at:.0%}" for at in places) + " |")
    print("|---|---|" + "---|" * len(places))
    with tempfile.TemporaryDirectory() as folder:
        whole = {name: Path(folder) / f"whole-{name}" for name in names}
        for name, run in whole.items():
            paribus(options.spec, *overrides, "--backend", name, "--out", run)
        total = steps(whole[names[0]])
        begun = {(name, at): Path(folder) / f"{name}-{at}" for name, at in product(names, places)}
        for (name, at), run in begun.items():
            stop = ["--stop-after", str(max(1, round(at * total)))]
            paribus(options.spec, *overrides, "--backend", name, "--out", run, *stop)
        for first, second in product(names, names):
            cells = []
            for at in places:
                run = Path(folder) / f"{first}-{second}-{at}"
                given = ["--backend", second, "--resume", begun[first, at], "--out", run]
                paribus(options.spec, *overrides, *given)
                found = difference(run, whole[second])
                same = first == second and rows(run) == rows(whole[second])
                cells.append(f"{found:.1e}" + (", every row the same" if same else ""))
            print(f"| {first} | {second} | " + " | ".join(cells) + " |", flush=True)
    print(f"\n{total} optimizer steps of {Path(options.spec).name} in all")


if __name__ == "__main__":
    main()
