"""What a training step costs, beside the loops that one would write or call instead.

    python benchmarks/steps.py                              # all, some minutes
    python benchmarks/steps.py --backends torch --works cnn,bert --rounds 7

Each framework has a process of its own. In it all contenders take turns, round by round, on the
same threads and the same data in memory; the table has medians, and how fast each is against the
first rival. Tracing, compiling and trying candidates happen in a first round that is timed apart.

Where other work keeps the cores busy, ``--threads 1 --clock cpu`` counts the processor's seconds
instead of the wall's: with one thread they are what the arithmetic costs, whoever else computes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median, quantiles
from typing import Any

from works import WORKS, Ours, Work

from paribus import registry, weights
from paribus.adapter import Numerics
from paribus.remote.backend import THREADS
from paribus.tuning import Tuning

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Contender = Callable[[Work], Callable[[int], Any]]


def ours(work: Work, backend: str, numerics: Numerics, clock: str) -> Callable[[int], Any]:
    """Return training by paribus for so many epochs; fast numerics choose, and say what."""
    session = registry.get(backend).open(
        work.network, work.task(), device="cpu", precision="float32", numerics=numerics
    )
    session.import_weights(weights.draw(work.network, 0))
    session.tune(Tuning(clock=CLOCKS[clock]))
    run = Ours(work, session)

    def told(epochs: int) -> None:
        known = len(session.choices)
        run(epochs)
        for choice in session.choices[known:]:
            print(choice.sentence, file=sys.stderr, flush=True)

    return told


def contenders(backend: str, clock: str) -> dict[str, Contender]:
    """Return what is measured in a backend's process by title, the rival to compare with first."""
    if backend == "tensorflow":
        registry.get(backend).devices()  # imports Keras as paribus does
        from rivals_keras import KERAS

        rivals: dict[str, Contender] = dict(KERAS)
    else:
        from rivals_torch import eager

        rivals = {"hand-written eager loop": eager}
    own = {
        f"paribus {kind}": partial(ours, backend=backend, numerics=kind, clock=clock)
        for kind in ("strict", "fast")
    }
    return rivals | own


def measure(backend: str, name: str, rounds: int, only: str, clock: str) -> dict[str, Any]:
    """Return seconds a step of every contender, and what its first epoch took besides."""
    work, found = WORKS[name], {}
    runs = {}
    for title, make in contenders(backend, clock).items():
        if only and not any(part in title for part in only.split(",")):
            continue
        start = time.perf_counter()
        runs[title] = make(work)
        runs[title](1)
        found[title] = {"first": time.perf_counter() - start, "seconds": []}
        runs[title](1)
    for _ in range(rounds):
        for title, run in runs.items():
            start = CLOCKS[clock]()
            run(work.epochs)
            found[title]["seconds"].append((CLOCKS[clock]() - start) / work.steps)
    return found


def table(backend: str, name: str, found: dict[str, Any]) -> None:
    """Print one work's rows."""
    base = median(next(iter(found.values()))["seconds"])
    for title, times in found.items():
        middle = median(times["seconds"])
        low, _, high = (
            quantiles(times["seconds"], n=4) if len(times["seconds"]) > 1 else [middle] * 3
        )
        cells = (
            backend, WORKS[name].title, title, f"{1e3 * middle:.3f}",
            f"{1e3 * low:.3f}–{1e3 * high:.3f}", f"{base / middle:.2f} ×", f"{times['first']:.1f}",
        )  # fmt: skip
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Measure each backend and work in a process of its own and print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backends", default="torch,tensorflow")
    parser.add_argument("--works", default=",".join(WORKS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, help="of every process; default: the machine's")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--only", default="", help="parts of the contenders' titles")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        with open(options.child[1], "w") as file:
            backend, _, name = options.child[0].partition("/")
            json.dump(measure(backend, name, options.rounds, options.only, options.clock), file)
        return
    environment = dict(os.environ)
    if options.threads:
        environment |= dict.fromkeys(THREADS, str(options.threads))
    print("| framework | work | | ms a step | middle half | speed | first epoch, s |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for backend in options.backends.split(","):
        for name in options.works.split(","):
            reader, writer = os.pipe()
            command = [sys.executable, __file__, "--rounds", str(options.rounds)]
            command += ["--clock", options.clock]
            command += ["--only", options.only] if options.only else []
            command += ["--child", f"{backend}/{name}", f"/dev/fd/{writer}"]
            with subprocess.Popen(command, pass_fds=(writer,), env=environment) as child:
                os.close(writer)
                with open(reader) as file:
                    said = file.read()
            if child.returncode:
                sys.exit(f"{backend}, {name}: the child ended with code {child.returncode}")
            table(backend, name, json.loads(said))


if __name__ == "__main__":
    main()
