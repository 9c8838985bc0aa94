"""Data: where examples come from, which rows do what, and how a row becomes a network's input.

Everything here happens once, in NumPy, before any framework: the same bytes, the same rows and the
same draws for every backend. Nothing is downloaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from paribus.architectures import Objective
from paribus.data import texts
from paribus.data.checks import check_examples, check_labels
from paribus.data.crossvalidation import SCHEMES, Fold, folds
from paribus.data.dataset import Dataset, Integers
from paribus.data.images import conform
from paribus.data.memory import streams
from paribus.data.source import Source
from paribus.data.sources import SOURCES
from paribus.data.splits import Split, split
from paribus.data.streamed import Examples, Streamed
from paribus.data.subset import choose, left_out
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
    "labels",
    "load",
    "split",
]


def load(
    section: Data,
    seed: int,
    objective: Objective = "classification",
    exclude: Integers | None = None,
    tokenizer: str | None = None,
) -> Dataset:
    """Read the examples that the spec's ``data`` section describes.

    ``classes`` and ``limit`` choose rows before any image is decoded. Row numbers therefore depend
    on neither ``image`` nor ``transform``, and candidates that differ in those share their folds.
    For language models the rows are documents until they are packed into blocks; ``limit`` then
    chooses blocks. Examples that ``memory`` leaves where they are come as ``Streamed``.

    Args:
        section: ``data`` of the spec.
        seed: the experiment's, used for ``limit`` where ``section.split.seed`` is None.
        objective: what the labels are for.
        exclude: int64, row numbers of the source that judge another step and may not be used; the
            rest of their groups is left out with them.
        tokenizer: the JSON of the tokenizer to use instead of ``section.tokenizer``, for texts.

    Raises:
        DataError: files are missing or unreadable, or the examples cannot be used as they are.
        SpecError: the section asks for what the source does not have.
    """
    source, seed, left = _found(section, seed, objective, exclude)
    if source.read is None:
        return texts.dataset(section, seed, objective, source, left, tokenizer)
    chosen = choose(source, section.classes, section.limit, seed, objective, left)
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
        objective=objective,
        skipped=source.skipped,
    )


def labels(section: Data, seed: int, objective: Objective = "classification") -> Dataset:
    """Return what ``load`` does, without the examples: ``x`` is empty.

    Labels say who is in which part of a split, and are read in a moment.
    """
    source, seed, left = _found(section, seed, objective, None)
    chosen = choose(source, section.classes, section.limit, seed, objective, left)
    numbers = chosen.rows if source.numbers is None else source.numbers[chosen.rows]
    return Dataset(
        np.empty((len(chosen.y), 0)),
        chosen.y,
        chosen.class_names,
        source.value_range,
        chosen.groups,
        chosen.given_test,
        numbers,
        objective=objective,
    )


def _found(
    section: Data, seed: int, objective: Objective, exclude: Integers | None
) -> tuple[Source, int, Integers]:
    """Return a section's source, the seed that chooses from it, and the rows that are left out."""
    if section.source not in SOURCES:
        raise SpecError(
            f"data.source = {section.source!r}; allowed: {', '.join(SOURCES)}."
            f"{nearest(section.source, SOURCES)}"
        )
    source = SOURCES[section.source](section, objective)
    check_labels(source, class_based=objective == "classification")
    seed = seed if section.split.seed is None else section.split.seed
    return source, seed, left_out(source, exclude)


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
