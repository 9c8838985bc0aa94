"""What dropout costs: a training step without it, with portable masks, with the framework's own.

    python benchmarks/dropout.py                        # all three, some minutes
    python benchmarks/dropout.py --backends torch --repeats 5

For each network the three are measured in turn, again and again, in one child process per backend,
so that what else the machine does meets all of them; the table has the medians. The framework's own
generator is what ``dropout_masks = "native"`` with ``numerics = "fast"`` uses, so all three run
under fast numerics, in float32.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np

from paribus import draws, noise, registry, weights
from paribus.adapter import Session, Task
from paribus.architectures import Network, build
from paribus.optimizers import RULES
from paribus.plan import Preprocess, TrainPlan

RULE, RATE = "sgd_momentum", 1e-3
SETTINGS: dict[str, tuple[str, dict[str, Any], tuple[int, ...], int, dict[str, float]]] = {
    "MLP 784–512–512, 128 rows": (
        "mlp", {"hidden": [512, 512]}, (784,), 128, {"dropout": 0.1}
    ),
    "ViT 6 layers, width 192, 16 images of 96×96": (
        "vit", {"layers": 6}, (3, 96, 96), 16, {"dropout": 0.1, "attention_dropout": 0.1}
    ),
    "BERT 4 layers, width 256, 4 texts of 128 tokens": (
        "bert",
        {"vocabulary": 8192, "layers": 4, "heads": 4, "hidden": 256, "intermediate": 1024},
        (128,), 4, {"dropout": 0.1, "attention_dropout": 0.1},
    ),
}  # fmt: skip
CLASSES, EXAMPLES = 10, 256
NONE, PORTABLE, NATIVE = "none", "portable", "native"


def _data(network: Network) -> tuple[Any, Any]:
    """Return examples and labels; what they are costs nothing here."""
    labels = draws.integers(0, "labels", 0, (EXAMPLES,), CLASSES)
    if network.reads_tokens:
        shape = (EXAMPLES, *network.input_shape)
        return draws.integers(0, "texts", 0, shape, 8192).astype(np.int32), labels
    if len(network.input_shape) == 1:
        return draws.normal(0, "x", 0, (EXAMPLES, *network.input_shape)).astype("f4"), labels
    channels, height, width = network.input_shape
    pixels = draws.integers(0, "x", 0, (EXAMPLES, height, width, channels), 256)
    return pixels.astype(np.uint8), labels


def _plan(network: Network, rows: int, steps: int) -> TrainPlan:
    """Return a plan of ``steps`` steps of one shard, with keys where the network drops."""
    order = [draws.permutation(0, "order", step, EXAMPLES)[:rows] for step in range(steps)]
    numbers = np.arange(1, steps + 1, dtype=np.float64)
    values = {"momentum": 0.9, "weight_decay": 0.0}
    found = RULES[RULE].coefficients(values, np.full(steps, RATE), numbers)
    keys = noise.keys(0, "benchmark", 0, steps, len(network.noisy)) if network.noisy else None
    channels = network.input_shape[0] if len(network.input_shape) == 3 else 1
    scaling = Preprocess((1 / 255,) * channels) if channels > 1 else Preprocess()
    length = network.input_shape[0] if network.reads_tokens else None
    return TrainPlan(
        np.stack(order)[:, None], np.full((steps, 1), rows), np.full((steps, 1, rows), 1 / rows),
        {name: found[name] for name in RULES[RULE].scalars},
        replace(scaling, length=length), noise=keys,
    )  # fmt: skip


def _seconds(session: Session, handle: Any, plan: TrainPlan) -> float:
    start = time.perf_counter()
    session.train_steps(handle, plan).result()
    return (time.perf_counter() - start) / plan.steps


def measure(name: str, steps: int, repeats: int) -> None:
    """Print the rows of one backend."""
    backend = registry.get(name)
    for title, (architecture, sizes, shape, rows, dropped) in SETTINGS.items():
        plain = build(architecture, sizes, shape, CLASSES)
        noisy = build(architecture, {**sizes, **dropped}, shape, CLASSES)
        opened = {}
        for kind, network in ((NONE, plain), (PORTABLE, noisy), (NATIVE, noisy)):
            task = Task(RULE, network.trainable("none"), native_noise=kind == NATIVE)
            session = backend.open(
                network, task, device="cpu", precision="float32", numerics="fast"
            )
            session.import_weights(weights.draw(network, 0))
            opened[kind] = (session, session.put(*_data(network)), _plan(network, rows, steps))
        times: dict[str, list[float]] = {kind: [] for kind in opened}
        for repeat in range(repeats + 1):
            for kind, work in opened.items():
                seconds = _seconds(*work)
                # The first one compiles.
                times[kind] += [seconds] if repeat else []
        for session, *_ in opened.values():
            session.close()
        none, portable, native = (1e3 * median(times[kind]) for kind in (NONE, PORTABLE, NATIVE))
        cells = (
            backend.title, title, f"{none:.2f}", f"{portable:.2f} ({_more(portable, none)})",
            f"{native:.2f} ({_more(native, none)})",
        )  # fmt: skip
        print(f"| {' | '.join(cells)} |", flush=True)


def _more(value: float, base: float) -> str:
    return f"{100 * (value / base - 1):+.0f} %"


def main() -> None:
    """Measure each backend in a process of its own and print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", default="torch,tensorflow,huggingface")
    parser.add_argument("--steps", type=int, default=10, help="of one measurement")
    parser.add_argument("--repeats", type=int, default=7, help="measurements of each")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        measure(options.only, options.steps, options.repeats)
        return
    print("| milliseconds a step | network | no dropout | portable masks | the framework's own |")
    print("|---|---|---|---|---|", flush=True)
    for name in options.backends.split(","):
        words = ["--only", name, "--steps", options.steps, "--repeats", options.repeats]
        subprocess.run([sys.executable, __file__, *map(str, words)], check=True)


if __name__ == "__main__":
    main()
