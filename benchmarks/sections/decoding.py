"""Decoding a folder of photographs: before a training, and during one."""

from __future__ import annotations

import tempfile
from pathlib import Path

from measuring import Bars, Contender, Measured, Report, Table, interleaved
from measuring.options import Options
from rivals import decoding

FAIR = (
    "JPEGs of 320×320 pixels, resized to 96×96 by Pillow everywhere, from the system's cache of "
    "files; all take turns. torchvision's ImageFolder is read through a DataLoader with as many "
    "worker processes as there are cores, without training. Streamed training decodes every image "
    "in every epoch, beside the training, and ends with the same loss to the bit as from memory; "
    "at its best it takes as long as the longer of the two alone, where they do not share cores."
)
_OWN = "rivals.decoding"
_ONE, _POOL, _PILLOW = "paribus, 1 thread", "paribus, a thread a core", "a loop over Pillow"
_LOADER, _MEMORY, _STREAMED = "DataLoader", "training from memory", "training, streamed"


def measure(options: Options) -> Report:
    """Measure passes over the folder."""
    count = 60 if options.quick else 2000
    with tempfile.TemporaryDirectory() as name:
        decoding.write(Path(name), count)
        given = {"folder": name}
        # The number of threads is of the whole process, hence one for each.
        contenders = [
            Contender(_PILLOW, f"{_OWN}:pillow", given, "pillow"),
            Contender(_ONE, f"{_OWN}:own", {**given, "threads": 1}, "one"),
            Contender(_POOL, f"{_OWN}:own", given, "pool"),
            Contender(_MEMORY, f"{_OWN}:training", {**given, "streamed": False}, "training"),
            Contender(_STREAMED, f"{_OWN}:training", {**given, "streamed": True}, "training"),
        ]
        if not options.quick:
            workers = {**given, "workers": options.threads}
            contenders.insert(3, Contender(_LOADER, f"{_OWN}:loader", workers, "loader"))
        found = interleaved(
            contenders,
            1,
            first=1,
            rounds=options.turns(3),
            threads=options.threads,
            timed_by=options.clock,
        )  # fmt: skip
    rows = [_row(measured, found[0], count) for measured in found]
    columns = ("a pass over the images", "s", "half of the rounds", "images/s", "speed", "loss")
    speeds = {f"{count} images": {m.title: count / m.median for m in found}}
    return Report(
        "Decoding", FAIR, [Table(columns, rows)], [Bars("Decoding", "images a second", speeds)],
        {"images": count, "found": [measured.as_dict() for measured in found]},
    )  # fmt: skip


def _row(measured: Measured, base: Measured, count: int) -> list[str]:
    low, high = measured.spread
    return [
        measured.title, f"{measured.median:.2f}", f"{low:.2f} – {high:.2f}",
        f"{count / measured.median:.0f}", f"{measured.faster_than(base):.2f} ×",
        "" if measured.loss is None else f"{measured.loss:.9f}",
    ]  # fmt: skip
