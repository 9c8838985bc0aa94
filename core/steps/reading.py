"""How one training reads its data set: from the spec's sections to ``Inputs``."""

from __future__ import annotations

import numpy as np

from paribus import data as datasets
from paribus.data import Dataset, masking
from paribus.draws import Floats
from paribus.errors import SpecError
from paribus.inputs import Inputs
from paribus.plan import Augmentation, Integers, Targets
from paribus.spec.training import Recipe
from paribus.steps.examples import View

COPIES = "copies"


def reading(
    dataset: Dataset, train_rows: Integers, view: View, recipe: Recipe, seed: int, stream: str
) -> Inputs:
    """Return how rows become inputs and targets.

    Args:
        dataset: the examples of ``view``.
        train_rows: int64, what preprocessing is fitted on and classes are counted in.
        view, recipe: the data section, what is learned, and how.
        seed, stream: what augmentation and masks are drawn from.

    Raises:
        SpecError: class weights for another number of classes, or no mask token to mask with.
    """
    transform, tokens, x = view.section.transform, dataset.tokens, dataset.x
    preprocess = datasets.fit(dataset, train_rows, transform)
    weights = _class_weights(recipe, dataset, train_rows)

    def augment(epoch: int, order: Integers) -> Augmentation | None:
        size, copies = dataset.stored_size, transform.augment_copies
        if copies is None:
            return datasets.augmentation(transform, size, seed, epoch, len(order), stream)
        # By row, and of no training: every fold draws the same copies of a row.
        drawn = datasets.augmentation(transform, size, seed, epoch % copies, len(dataset), COPIES)
        if drawn is None:
            return None
        return Augmentation(**{name: array[order] for name, array in vars(drawn).items()})

    def mask(rows: Integers, epoch: int | None, positions: Integers) -> Targets:
        assert tokens is not None
        drawn = masking.targets(
            tokens,
            x[rows.ravel()],
            seed,
            "evaluation/mask" if epoch is None else f"{stream}/mask",
            epoch or 0,
            positions.ravel(),
            recipe.mask_probability,
        )
        arrays = {
            name: array.reshape(*rows.shape, *array.shape[1:])
            for name, array in vars(drawn).items()
        }
        return Targets(**arrays)

    if view.objective == "masked_lm" and tokens is not None:
        masking.require_mask(tokens)
        return Inputs(view.objective, preprocess, mask=mask)
    if tokens is None or view.objective == "causal_lm":
        copies = transform.augment_copies
        return Inputs(view.objective, preprocess, augment, copies, row_weights=weights)
    return Inputs(
        view.objective, preprocess, augment, None, dataset.lengths, tokens.widths, weights
    )


def _class_weights(recipe: Recipe, dataset: Dataset, rows: Integers) -> Floats | None:
    """Return what each row of the data set weighs; None for 1.

    ``balanced`` is scikit-learn's: n / (C · n_c), of n training rows n_c in the class.
    """
    given = recipe.class_weights
    if given is None:
        return None
    if given == "balanced":
        counts = np.bincount(dataset.y[rows], minlength=dataset.classes)
        each = len(rows) / (dataset.classes * counts)
    else:
        each = np.asarray(given, dtype=np.float64)
    if len(each) != dataset.classes:
        raise SpecError(
            f"class_weights has {len(each)} weights, but the data has {dataset.classes} classes: "
            f"{', '.join(dataset.class_names[:20])}; give one each, in this order"
        )
    return np.asarray(each[dataset.y])
