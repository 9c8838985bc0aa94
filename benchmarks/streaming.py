"""How much memory does data take that is streamed? Prints a Markdown table of peaks.

    python benchmarks/streaming.py                         1, 5 and 20 GB, PyTorch and TensorFlow
    python benchmarks/streaming.py --gigabytes 1 --load    1 GB, streamed and in memory

For each size an uncompressed .npz of noisy 64×64 colour images is written (and deleted at the end),
and a tiny cnn trained on it for one epoch: each training row is read once, whole, in random order
from all over the file, then validation and test rows. The network sees a random 16×16 window of
each, so that an epoch of millions of images takes minutes. Each run is a process of its own, which
is watched from outside: ``VmHWM`` is the system's own record of its largest resident memory; the
parts are sampled 20 times a second: anonymous memory (the process's own) and file pages (libraries,
and files that are mapped into memory, which streaming does not do).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

SIDE, CLASSES, BLOCK = 64, 10, 2048
IMAGE_BYTES = SIDE * SIDE * 3

SPEC: dict[str, Any] = {
    "name": "streaming",
    "device": "cpu",
    "data": {
        "source": "npz",
        "transform": {"crop": 16},
        "split": {"validation": 0.02, "test": 0.02},
    },
    "model": {"architecture": "cnn", "channels": [4], "batch_norm": False},
    "finetune": {
        "epochs": 1,
        "batch_size": 256,
        "optimizer": {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9},
    },
}

# The child: one run, and what the system says about it at the end.
CHILD = """
import json, sys
import paribus

spec = paribus.load(sys.argv[1])
result = paribus.run(spec, backend=sys.argv[2], out=sys.argv[3])
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if "VmHWM" in line)
step = result.metrics["steps"]["finetune"]
print(json.dumps([peak, result.metrics["data"]["streamed"], step["optimizer_steps"],
                  step["images_per_second"], result.test["accuracy"]]))
"""


def blocks(count: int) -> Iterator[Any]:
    """Yield uint8 images [n, 64, 64, 3], ``count`` in all; row i is of class i mod 10."""
    generator = np.random.default_rng(0)
    tints = generator.integers(0, 100, (CLASSES, 1, 1, 3), dtype=np.uint8)
    noise = generator.integers(0, 120, (BLOCK, SIDE, SIDE, 3), dtype=np.uint8)
    for start in range(0, count, BLOCK):
        rows = np.arange(start, min(count, start + BLOCK))
        shifted = np.roll(noise, start // BLOCK, axis=2)[: len(rows)]
        yield shifted + tints[rows % CLASSES]


def write(path: Path, gigabytes: float) -> int:
    """Write the archive piece by piece; return the number of images."""
    count = int(gigabytes * 1e9) // IMAGE_BYTES
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("y.npy", "w") as file:
            npy.write_array(file, np.arange(count, dtype=np.int64) % CLASSES)
        with archive.open("x.npy", "w", force_zip64=True) as file:
            shape = (count, SIDE, SIDE, 3)
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            npy.write_array_header_1_0(file, header)
            for block in blocks(count):
                file.write(block.data)
    return count


def sampled(pid: int) -> tuple[int, int]:
    """Return a process's anonymous memory and its file pages, in KiB; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0, 0
    found = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return int(found.get("RssAnon", 0)), int(found.get("RssFile", 0))


def run(folder: Path, backend: str, memory: str) -> str:
    """Train in a child and return the cells of a row of the table."""
    spec = SPEC | {"data": SPEC["data"] | {"path": str(folder / "data.npz"), "memory": memory}}
    (folder / "spec.json").write_text(json.dumps(spec))
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as out, (folder / "log").open("w+") as log:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, folder / "spec.json", backend, Path(out) / "run"],
            stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
        both, anonymous, files = 0, 0, 0
        while child.poll() is None:
            own, mapped = sampled(child.pid)
            both, anonymous = max(both, own + mapped), max(anonymous, own)
            files = max(files, mapped)
            time.sleep(0.05)
        if child.returncode or child.stdout is None:
            log.seek(0)
            raise SystemExit(log.read())
        peak, streamed, steps, speed, accuracy = json.loads(child.stdout.read().splitlines()[-1])
    seconds = time.perf_counter() - began
    assert streamed == (memory == "stream")
    cells = [f"{size / 1024:.0f}" for size in (peak, both, anonymous, files)]
    return " | ".join([*cells, str(steps), f"{speed:.0f}", f"{accuracy:.3f}", f"{seconds:.0f}"])


def main() -> None:
    """Write, train, print, delete."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--gigabytes", default="1,5,20")
    parser.add_argument("--backends", default="torch,tensorflow")
    parser.add_argument("--load", action="store_true", help="also with all of it in memory")
    parser.add_argument("--folder", type=Path, help="where there is room")
    arguments = parser.parse_args()
    titles = ["data, GB", "images", "backend", "data.memory", "VmHWM, MiB", "anonymous + files",
              "anonymous", "files", "steps", "images/s", "test accuracy", "seconds"]  # fmt: skip
    print("|", " | ".join(titles), "|")
    print("|---" * len(titles) + "|")
    ways = ("stream", "load") if arguments.load else ("stream",)
    for gigabytes in map(float, arguments.gigabytes.split(",")):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            count = write(Path(folder) / "data.npz", gigabytes)
            for backend in arguments.backends.split(","):
                for memory in ways:
                    cells = run(Path(folder), backend, memory)
                    print(
                        f"| {gigabytes:g} | {count} | {backend} | {memory} | {cells} |", flush=True
                    )


if __name__ == "__main__":
    main()
