"""Data: where examples come from, which rows do what, and how a row becomes a network's input.

Everything here happens once, in NumPy, before any framework: the same bytes, the same rows and the
same draws for every backend. Nothing is downloaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paribus.data.checks import check_examples, check_labels
from paribus.data.crossvalidation import SCHEMES, Fold, folds
from paribus.data.dataset import Dataset
from paribus.data.images import conform
from paribus.data.memory import streams
from paribus.data.sources import SOURCES
from paribus.data.splits import Split, split
from paribus.data.streamed import Examples, Streamed
from paribus.data.subset import choose
from paribus.data.transforms import augmentation, fit
from paribus.errors import SpecError, nearest

if TYPE_CHECKING:
    from paribus.spec.data import Data

__all__ = [
    "SCHEMES",
    "SOURCES",
    "Dataset",
    "Fold",
    "Split",
    "Streamed",
    "augmentation",
    "fit",
    "folds",
    "load",
    "split",
]


def load(section: Data, seed: int) -> Dataset:
    """Read the examples that the spec's ``data`` section describes.

    ``classes`` and ``limit`` choose rows before any image is decoded. Row numbers therefore depend
    on neither ``image`` nor ``transform``, and candidates that differ in those share their folds.
    Examples that ``memory`` leaves where they are come as ``Streamed``.

    Args:
        section: ``data`` of the spec.
        seed: the experiment's, used for ``limit`` where ``section.split.seed`` is None.

    Raises:
        DataError: files are missing or unreadable, or the examples cannot be used as they are.
        SpecError: the section asks for what the source does not have.
    """
    if section.source not in SOURCES:
        raise SpecError(
            f"data.source = {section.source!r}; allowed: {', '.join(SOURCES)}."
            f"{nearest(section.source, SOURCES)}"
        )
    source = SOURCES[section.source](section)
    check_labels(source)
    seed = seed if section.split.seed is None else section.split.seed
    chosen = choose(source, section.classes, section.limit, seed)
    x = _examples(source.read(chosen.rows), section, source.value_range)
    numbers = chosen.rows if source.numbers is None else source.numbers[chosen.rows]
    check_examples(x, numbers, source.origin)
    return Dataset(
        x,
        chosen.y,
        chosen.class_names,
        source.value_range,
        chosen.groups,
        chosen.given_test,
        numbers,
        skipped=source.skipped,
    )


def _examples(x: Examples, section: Data, value_range: float) -> Examples:
    """Return the examples as ``data.image`` wants them, in memory or to be read when needed."""
    lazy = conform(Streamed.of(x), section.image, value_range)
    if isinstance(x, Streamed):
        return lazy if streams(section.memory, lazy.nbytes) else lazy[:]
    # What is in memory already stays there, unless it is about to grow too large.
    grows = section.memory == "stream" or lazy.nbytes > x.nbytes
    if grows and streams(section.memory, lazy.nbytes):
        return lazy
    return conform(x, section.image, value_range)
