"""What a training step costs, beside the loops that one would write or call instead."""

from __future__ import annotations

import sys

from measuring import Bars, Contender, Measured, Report, Table, interleaved
from measuring.options import Options
from rivals.works import WORKS, Work

FAIR = (
    "Every contender trains the same network from the same weights on the same batches of 32 rows "
    "in float32, with the same optimizer, on the same number of threads, from data in memory. "
    "They take turns in one run, one of them computing at a time; a row's speed is the median of "
    "its ratios to the first contender's time of the same round. Setting up, tracing and compiling "
    "are not in the times (the first turn, in which they happen, is a column); of Lightning, the "
    "Hugging Face Trainer and keras.fit only the loop is timed, not what a call prepares. Rivals "
    "log, save and validate nothing and get their shuffled orders ready-made; keras.fit reads one "
    "order again and again. The PyTorch contenders share a process, in which paribus makes the C "
    'library keep freed memory, for the hand-written loop as well; "by itself" is the same loop in '
    "a process of its own, as one would run it. paribus runs the loop of every experiment with all "
    "its planning and recording except the writing of metrics.jsonl. On a GPU the hand-written "
    "loop has its data there, and all rivals compute as PyTorch does by default: convolutions in "
    "TF32, which paribus does in fast numerics alone. The loss is the mean of the first epoch."
)
_TORCH = {
    "hand-written PyTorch": "rivals.handwritten:setup",
    "Lightning": "rivals.lightning_trainer:setup",
    "skorch": "rivals.skorch_net:setup",
    "Hugging Face Trainer": "rivals.hf_trainer:setup",
}
# Steps of a turn on a GPU, at least: long enough for the clock.
GPU_STEPS = 48
# XLA on a CPU takes seconds a step there, and a minute to compile.
_NO_JIT = ("resnet",)


def contenders(work: str, options: Options) -> list[Contender]:
    """Return who takes turns; the first is what the others are compared with."""
    own, given = "rivals.own_loop:setup", {"work": work, "device": options.device}
    found = [Contender(title, setup, given) for title, setup in _TORCH.items()]
    kinds = ("strict", "fast")

    def ours(backend: str) -> list[Contender]:
        return [
            Contender(f"paribus {backend}, {kind}", own,
                      {**given, "backend": backend, "numerics": kind}, backend)
            for kind in kinds
        ]  # fmt: skip

    found[1:1] = ours("torch")
    if options.quick:
        return found[:2]
    alone = Contender(f"{found[0].title}, by itself", found[0].setup, given, "alone")
    found.insert(1, alone)
    if "jax" in options.backends:
        found += ours("jax")
    if "tensorflow" not in options.backends:
        return found
    keras = "rivals.keras_fit:setup"
    found.append(Contender("keras.fit", keras, {"work": work}, "tensorflow"))
    if work not in _NO_JIT:
        jit = {"work": work, "jit": True}
        found.append(Contender("keras.fit, jit_compile", keras, jit, "tensorflow"))
    return found + ours("tensorflow")


def measure(options: Options) -> Report:
    """Measure the four works."""
    rows: list[list[str]] = []
    bars: dict[str, dict[str, float]] = {}
    data = {}
    for name, work in WORKS.items():
        if not options.wants(name) or (options.quick and not options.works and name != "mlp"):
            continue
        print(f"  {work.title}", file=sys.stderr, flush=True)
        found = interleaved(
            contenders(name, options),
            _turn(work, options.device),
            first=work.epoch_steps,
            rounds=options.turns(9),
            threads=options.threads,
            timed_by=options.clock,
            go_on=True,
        )
        base = found[0]
        rows += [_row(work.title, measured, base) for measured in found]
        bars[work.title] = {
            measured.title: measured.faster_than(base) for measured in found if not measured.failed
        }
        data[name] = [measured.as_dict() for measured in found]
    columns = (
        "work", "contender", "ms a step", "half of the rounds", "speed", "first turn, s",
        "mean loss of epoch 1",
    )  # fmt: skip
    speed = Bars("Training steps", "times as fast as the hand-written PyTorch loop", bars, 1.0)
    return Report("Training steps", FAIR, [Table(columns, rows)], [speed], {"works": data})


def _turn(work: Work, device: str) -> int:
    """Return the steps of a turn, whole epochs."""
    least = -(-GPU_STEPS // work.epoch_steps) if device == "cuda" else 1
    return max(work.epochs, least) * work.epoch_steps


def _row(work: str, measured: Measured, base: Measured) -> list[str]:
    if measured.failed:
        return [work, measured.title, f"failed: {measured.failed}", "", "", "", ""]
    low, high = (f"{1e3 * value:.3g}" for value in measured.spread)
    loss = "" if measured.loss is None else f"{measured.loss:.6f}"
    return [
        work, measured.title, f"{1e3 * measured.median:.3g}", f"{low} – {high}",
        f"{measured.faster_than(base):.2f} ×", f"{measured.setup + measured.first:.1f}", loss,
    ]  # fmt: skip
