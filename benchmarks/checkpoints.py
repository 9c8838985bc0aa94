"""What does it cost to keep the state of a run? Prints a Markdown table.

    python benchmarks/checkpoints.py                                   ResNet-18, 64×64, PyTorch
    python benchmarks/checkpoints.py --backend tensorflow --states 3

A state of ResNet-18 with SGD's momentum and the best weights so far is 134 MB. It is copied between
two steps, which wait for that (*stall*), and written beside the next ones (*write*: serialising,
hashing, syncing). One a minute slows the steps by stall/60 at least, and by (stall + write)/60 at
most, where no core is free for the writing. Both are medians, and ratios of one process; on a busy
machine they grow together with everything else, so a step's time stands beside them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import paribus
from paribus.progress import Progress
from paribus.runstate import keeper, saving
from paribus.runstate.store import CHECKPOINTS, TENSORS

SIDE, IMAGES, BATCH, MINUTE = 64, 160, 16, 60.0


class Stopwatch(Progress):
    """The seconds of steps, without those in which a state was kept."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.since: float | None = None

    def advance(self, steps: int, loss: float) -> None:
        """Note how long the steps took."""
        now = time.perf_counter()
        if self.since is not None:
            self.steps += [(now - self.since) / steps] * steps
        self.since = now


def timed(function: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    """Return a function that notes how long each call takes."""

    def call(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            seconds.append(time.perf_counter() - began)

    return call


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="torch")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--states", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="between two states")
    options = parser.parse_args()
    stalls: list[float] = []
    writes: list[float] = []
    largest = [0]
    keeper.Keeper.save = timed(keeper.Keeper.save, stalls)  # type: ignore[method-assign]
    write = timed(saving.Saver._write, writes)

    def measured(saver: saving.Saver, *arguments: Any) -> None:
        write(saver, *arguments)
        found = saver.store.path.glob(f"*/{TENSORS}")
        largest[0] = max([largest[0], *(path.stat().st_size for path in found)])

    saving.Saver._write = measured  # type: ignore[method-assign]
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        drawn = np.random.default_rng(0)
        data = Path(folder) / "images.npz"
        shape = (IMAGES, SIDE, SIDE, 3)
        np.savez(data, x=drawn.integers(0, 256, shape, np.uint8), y=np.arange(IMAGES) % 10)
        spec = paribus.load({
            "name": "checkpoints",
            "device": "cpu",
            "checkpoints": {"minutes": 0, "steps": options.steps},
            "data": {"source": "npz", "path": str(data), "split": {"test": 0.1}},
            "model": {"architecture": options.model},
            "finetune": {
                "epochs": 1 + options.states * options.steps * BATCH // (IMAGES // 2),
                "batch_size": BATCH,
                "optimizer": {"name": "sgd", "learning_rate": 1e-3, "momentum": 0.9},
            },
        })  # fmt: skip
        run = Path(folder) / "run"
        paribus.run(
            spec, backend=options.backend, out=run, progress=watch,
            stop_after=options.states * options.steps + 1,
        )  # fmt: skip
        assert (run / CHECKPOINTS).is_dir()
    stall, wrote, step = map(statistics.median, (stalls[1:-1], writes[1:-1], watch.steps))
    print("| state | step | stall | write | one a minute costs |")
    print("|---|---|---|---|---|")
    print(
        f"| {largest[0] / 1e6:.0f} MB | {step:.3f} s | {stall:.3f} s | {wrote:.2f} s | "
        f"{stall / MINUTE:.2%} to {(stall + wrote) / MINUTE:.2%} |"
    )


if __name__ == "__main__":
    main()
