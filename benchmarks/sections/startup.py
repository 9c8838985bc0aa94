"""What a command takes before it works, and a whole small run beside the same work by hand."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from measuring import Bars, Report, Table
from measuring.commands import Commanded, installed, python, take_turns
from measuring.options import Options
from measuring.processes import HERE

from paribus import data
from paribus.spec.data import Data

FAIR = (
    "Whole processes, one after the other in turn, after a first round that is not counted, so "
    "that files are in the system's cache. Beyond: the median over the rounds of what a row took "
    "longer than the first row of its kind. The run is the fine-tuning step of "
    "examples/digits.toml without early stopping: the hand-written program trains the same network "
    "as long on as many rows, validates after each epoch, keeps the best weights, tests and writes "
    "them; it keeps no state to go on from, records no steps and repeats nothing to the bit. It "
    "reads the digits from an .npz file, because the import of scikit-learn, the usual way, takes "
    "longer than the training; that way is a row of its own."
)
_HELP, _IMPORT = "paribus --help", "import paribus"


def measure(options: Options) -> Report:
    """Measure the commands, then the run."""
    rounds, epochs = options.turns(15), 2 if options.quick else 20
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        light = take_turns(
            {
                "python -c pass": python("-c", "pass"),
                _IMPORT: python("-c", "import paribus"),
                _HELP: installed("paribus", "--help"),
                "paribus run --help": installed("paribus", "run", "--help"),
            },
            rounds, options.threads, folder,
        )  # fmt: skip
        digits = data.load(Data(), seed=0)
        np.savez(folder / "digits.npz", x=digits.x, y=digits.y)
        script = str(HERE / "rivals" / "digits_script.py")
        (folder / "spec.json").write_text(json.dumps(_spec(epochs)))
        run = ("run", "spec.json", "--quiet", "--out", "own", "--overwrite")
        whole = take_turns(
            {
                "hand-written": python(script, str(epochs), "by-hand", "digits.npz"),
                "hand-written, digits from scikit-learn": python(script, str(epochs), "by-hand"),
                "paribus run": installed("paribus", *run),
                "import torch alone": python("-c", "import torch"),
            },
            options.turns(7), options.threads, folder,
        )  # fmt: skip
    tables = [_table("command", light), _table(f"a run of {epochs} epochs", whole)]
    walls = {
        kind: {commanded.title: median(commanded.wall) for commanded in found}
        for kind, found in (("commands", light), ("a whole run", whole))
    }
    return Report(
        "Start-up", FAIR, tables, [Bars("Start-up", "seconds", walls)],
        {"commands": [c.as_dict() for c in light], "run": [c.as_dict() for c in whole]},
    )  # fmt: skip


def _spec(epochs: int) -> dict[str, Any]:
    """Return the fine-tuning of examples/digits.toml, without stopping early."""
    return {
        "name": "startup",
        "backend": "torch",
        "device": "cpu",
        "seed": 7,
        "data": {
            "source": "digits",
            "classes": [5, 6, 7, 8, 9],
            "split": {"validation": 0.2, "test": 0.2},
        },
        "model": {"architecture": "cnn", "channels": [16, 32]},
        "finetune": {"epochs": epochs, "batch_size": 32, "optimizer": "adamw", "keep": "best"},
    }


def _table(kind: str, found: list[Commanded]) -> Table:
    rows = []
    for commanded in found:
        low, high = commanded.spread()
        rows.append([
            commanded.title, f"{median(commanded.wall):.3f}", f"{low:.3f} – {high:.3f}",
            f"{median(commanded.processor):.3f}", f"{commanded.beyond(found[0]):+.3f}",
        ])  # fmt: skip
    return Table((kind, "s", "half of the rounds", "processor, s", "beyond the first, s"), rows)
