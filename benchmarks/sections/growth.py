"""How time and memory grow: with examples, epochs, folds, candidates, model size, steps a call."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from measuring import Child, Contender, Lines, Report, Table, interleaved
from measuring.options import Options
from rivals import growing

FAIR = (
    "Each point is a whole experiment on PyTorch in a process of its own, which has imported the "
    "framework before the clock starts: an MLP of two hidden layers of 64 on 28×28 pixels, batches "
    "of 128, unless it is what grows. The points of an axis take turns. Memory is the largest "
    "resident memory of the process; that of the framework alone is the smallest point's, nearly. "
    "Steps a call are of the MLP on 64 features, 32 rows a step, without an experiment around it."
)
EXAMPLES = 4000
_RUN = "rivals.growing:experiment"
Change = Callable[[dict[str, Any], int], None]


@dataclass(frozen=True)
class Axis:
    """What grows, in which steps, and how a spec says it."""

    title: str
    points: tuple[int, ...]
    change: Change


def _base(data: Path) -> dict[str, Any]:
    return {
        "name": "growth",
        "backend": "torch",
        "device": "cpu",
        "data": {"source": "npz", "path": str(data), "split": {"validation": 0.1, "test": 0.1}},
        "model": {"architecture": "mlp", "hidden": [64, 64]},
        "finetune": {
            "epochs": 1,
            "batch_size": 128,
            "optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9},
        },
    }


def _examples(spec: dict[str, Any], value: int) -> None:
    spec["data"]["path"] = spec["data"]["path"].replace(f"{EXAMPLES}.npz", f"{value}.npz")


def _epochs(spec: dict[str, Any], value: int) -> None:
    spec["finetune"]["epochs"] = value


def _width(spec: dict[str, Any], value: int) -> None:
    spec["model"]["hidden"] = [value, value]


def _select(spec: dict[str, Any], folds: int, candidates: int) -> None:
    spec["steps"] = ["select"]
    spec["select"] = {
        "folds": folds,
        "epochs": 1,
        "candidates": [
            {"name": f"width {64 + 8 * number}",
             "model": {"architecture": "mlp", "hidden": [64 + 8 * number, 64]}}
            for number in range(candidates)
        ],
    }  # fmt: skip


AXES = (
    Axis("examples", (1000, 4000, 16000, 64000), _examples),
    Axis("epochs", (1, 4, 16, 64), _epochs),
    Axis("folds (of 2 candidates)", (2, 4, 8, 16), lambda s, n: _select(s, n, 2)),
    Axis("candidates (2 folds)", (2, 4, 8, 16), lambda s, n: _select(s, 2, n)),
    Axis("width of the hidden layers", (64, 256, 1024, 4096), _width),
)
CALLS = (1, 4, 16, 32)


def measure(options: Options) -> Report:
    """Measure every axis."""
    axes = (Axis("epochs", (1, 2), _epochs),) if options.quick else AXES
    calls, rounds = CALLS[: 1 if options.quick else None], options.turns(3)
    data: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for axis in axes:
            counts = axis.points if axis.change is _examples else (EXAMPLES,)
            for count in counts:
                if not (folder / f"{count}.npz").exists():
                    growing.write(folder / f"{count}.npz", count)
            print(f"  {axis.title}", file=sys.stderr, flush=True)
            data[axis.title] = _axis(axis, _base(folder / f"{EXAMPLES}.npz"), rounds, options)
    print("  steps a call", file=sys.stderr, flush=True)
    sent = {backend: _calls(backend, calls, options) for backend in ("torch", "tensorflow")
            if backend == "torch" or not options.quick}  # fmt: skip
    return Report(
        "Growth", FAIR, _tables(data, sent), _figures(data, sent),
        {"axes": data, "milliseconds a step by steps a call": sent},
    )  # fmt: skip


def _axis(axis: Axis, base: dict[str, Any], rounds: int, options: Options) -> dict[str, Any]:
    """Return seconds and MiB of each point, medians over the rounds; children are not reused."""
    seconds: dict[int, list[float]] = {point: [] for point in axis.points}
    peaks: dict[int, list[float]] = {point: [] for point in axis.points}
    for _ in range(rounds):
        for point in axis.points:
            spec = deepcopy(base)
            axis.change(spec, point)
            request = {"title": str(point), "setup": _RUN, "given": {"spec": spec}}
            with Child(options.threads, options.clock) as child:
                child.ask({"do": "set up", **request})
                answer = child.ask({"do": "run", "title": str(point), "amount": 1})
            seconds[point].append(answer["seconds"])
            peaks[point].append(answer["peak"])
    return {
        "points": list(axis.points),
        "seconds": [median(seconds[point]) for point in axis.points],
        "peak_mib": [median(peaks[point]) for point in axis.points],
        "all_seconds": list(seconds.values()),
    }


def _calls(backend: str, sizes: tuple[int, ...], options: Options) -> dict[int, float]:
    """Return milliseconds a step by steps a call."""
    contenders = [
        Contender(str(size), "rivals.growing:calls",
                  {"work": "mlp", "backend": backend, "steps": size}, backend)
        for size in sizes
    ]  # fmt: skip
    found = interleaved(
        contenders, 64 if options.quick else 640, first=max(sizes), rounds=options.turns(7),
        threads=options.threads, timed_by=options.clock,
    )  # fmt: skip
    return {int(measured.title): 1e3 * measured.median for measured in found}


def _tables(data: dict[str, Any], sent: dict[str, dict[int, float]]) -> list[Table]:
    rows = []
    for title, found in data.items():
        first = found["points"][0], found["seconds"][0]
        for point, seconds, peak in zip(
            found["points"], found["seconds"], found["peak_mib"], strict=True
        ):
            grown = f"{point / first[0]:g} ×", f"{seconds / first[1]:.2f} ×"
            rows.append([title, str(point), f"{seconds:.2f}", *grown, f"{peak:.0f}"])
    calls = [
        [backend, str(size), f"{value:.3f}"]
        for backend, found in sent.items()
        for size, value in found.items()
    ]
    columns = ("what grows", "to", "s", "that is", "takes", "peak memory, MiB")
    return [Table(columns, rows), Table(("backend", "steps a call", "ms a step"), calls)]


def _figures(data: dict[str, Any], sent: dict[str, dict[int, float]]) -> list[Lines]:
    relative = {
        title: [(point / found["points"][0], value) for point, value in
                zip(found["points"], found["seconds"], strict=True)]
        for title, found in data.items()
    }  # fmt: skip
    memory = {
        title: [(point / found["points"][0], value) for point, value in
                zip(found["points"], found["peak_mib"], strict=True)]
        for title, found in data.items()
    }  # fmt: skip
    curves = {name: [(float(k), v) for k, v in found.items()] for name, found in sent.items()}
    return [
        Lines("Time of a run", "times the smallest point", "seconds", relative),
        Lines("Memory of a run", "times the smallest point", "MiB", memory),
        Lines("Steps a call", "optimizer steps in one call", "ms a step", curves),
    ]
