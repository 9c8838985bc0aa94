"""Data: where examples come from, which rows do what, and how a row becomes a network's input.

Everything here happens once, in NumPy, before any framework: the same bytes, the same rows and the
same draws for every backend. Nothing is downloaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paribus.architectures import LANGUAGE, Objective
from paribus.data import texts
from paribus.data.checks import check_examples, check_labels
from paribus.data.crossvalidation import SCHEMES, Fold, folds
from paribus.data.dataset import Dataset, Integers
from paribus.data.images import conform
from paribus.data.sources import SOURCES
from paribus.data.splits import Split, split
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
    "augmentation",
    "fit",
    "folds",
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
    chooses blocks.

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
    if section.source not in SOURCES:
        raise SpecError(
            f"data.source = {section.source!r}; allowed: {', '.join(SOURCES)}."
            f"{nearest(section.source, SOURCES)}"
        )
    source = SOURCES[section.source](section, objective)
    check_labels(source, class_based=objective == "classification")
    seed = seed if section.split.seed is None else section.split.seed
    if objective in LANGUAGE and section.groups is not None and exclude is None:
        raise SpecError(
            f"data.groups = {section.groups!r}: a language model is trained on blocks that run "
            "over several texts, so groups cannot be kept together; remove the key"
        )
    left = left_out(source, exclude)
    if source.read is None:
        return texts.dataset(section, seed, objective, source, left, tokenizer)
    chosen = choose(source, section.classes, section.limit, seed, objective, left)
    x = conform(source.read(chosen.rows), section.image, source.value_range)
    check_examples(x, chosen.rows, source.origin)
    return Dataset(
        x,
        chosen.y,
        chosen.class_names,
        source.value_range,
        chosen.groups,
        chosen.given_test,
        chosen.rows,
        objective=objective,
        skipped=source.skipped,
    )
