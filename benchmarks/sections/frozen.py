"""Frozen bodies, computed once: ``benchmarks/frozen.py``."""

from __future__ import annotations

from measuring import Bars, Report, Table
from measuring.options import Options

from sections.printed import printed, ratios

FAIR = (
    "The rival is the loop that people write: torchvision's ResNet-50 in evaluation mode, no "
    "gradient below the new layer, tensors in memory, the same weights, images, batches of 32 and "
    "SGD. One of its epochs is timed and multiplied by how many there would be, because they cost "
    "the same; before and after each run of paribus, which begins with an empty cache and is a "
    "whole run with its folder. Both use the same threads, in one process, after imports."
)
QUICK = ("--images", "48", "--rounds", "1", "--architecture", "resnet18", "--only", "0")


def measure(options: Options) -> Report:
    """Measure in strict numerics and in fast ones."""
    kinds = ("strict",) if options.quick else ("strict", "fast")
    words = QUICK if options.quick else ("--rounds", str(options.turns(3)))
    tables = {
        kind: printed(
            "frozen.py", (*words, "--numerics", kind, "--device", options.device), options.threads
        )
        for kind in kinds
    }
    speed = {kind: ratios(table, 3) for kind, table in tables.items()}
    figure = Bars("A frozen ResNet-50", "times as fast as the plain loop", speed, 1.0)
    columns = ("numerics", *tables["strict"].columns)
    rows = [[kind, *row] for kind, table in tables.items() for row in table.rows]
    return Report("Frozen bodies", FAIR, [Table(columns, rows)], [figure], {"speed": speed})
