"""What can be known to fail is found before the first step trains, and before a folder is made.

A run that ends in its third hour because a candidate names a stage that its network lacks has
cost three hours. Reading the data, cutting the folds and building every network costs a moment.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from paribus import weights
from paribus.adapter import Array
from paribus.batches import Schedule
from paribus.errors import SpecError
from paribus.feeding import require_rows
from paribus.filenames import is_file
from paribus.measures import validate
from paribus.plan import Integers
from paribus.runfiles import TOKENIZER
from paribus.spec import variant
from paribus.spec.data import TEXTS
from paribus.spec.sections import Spec
from paribus.steps.examples import Examples, View, step_data
from paribus.steps.initial import initial_weights
from paribus.steps.reading import reading


def prepare(spec: Spec, examples: Examples) -> dict[str, dict[str, Array]]:
    """Read all data of a spec, split it, and build every network that it names.

    Returns:
        the weights that were read on the way (``Experiment.weights``).

    Raises:
        SpecError, DataError, WeightsError: what a step would meet later.
    """
    specs = [spec]
    known: dict[str, dict[str, Array]] = {}
    for place, step in enumerate(spec.steps):
        pretrains = "pretrain" in spec.steps[:place]
        if step == "select" and spec.select is not None:
            # One of them is what the later steps will see.
            specs = _select(spec, examples, pretrains, known)
            continue
        recipe = spec.optimize.step if step == "optimize" and spec.optimize is not None else step
        for one in specs:
            rows = examples.split(step_data(one, recipe)).train
            _check(one, recipe, rows, examples, pretrains, known)
        if step == "optimize" and spec.optimize is not None:
            examples.search_folds(step_data(spec, recipe), spec.optimize)
    return known


def _select(
    spec: Spec, examples: Examples, pretrains: bool, known: dict[str, dict[str, Array]]
) -> list[Spec]:
    section = spec.select
    assert section is not None
    folds = examples.selection_folds(step_data(spec, section.step), section)
    fewest = min((fold.train for fold in folds), key=len)
    variants = [variant(spec, one.patch, one.name) for one in section.candidates]
    for candidate, other in zip(section.candidates, variants, strict=True):
        examples.require_same_rows(spec, other, section.step, candidate.name)
        _check(other, section.step, fewest, examples, pretrains, known)
    return variants


def _check(
    spec: Spec,
    step: str,
    rows: Integers,
    examples: Examples,
    pretrains: bool,
    known: dict[str, dict[str, Array]],
) -> None:
    recipe, view = spec.recipe(step), step_data(spec, step)
    network = examples.network(spec, step)
    body: dict[str, Array] | None = None
    if step == "finetune":
        network.trainable(spec.finetune.freeze)
        if pretrains and spec.finetune.weights == "auto":
            shapes = weights.shapes(examples.network(spec, "pretrain"))
            # Of the right shape, and no memory behind it: only shapes are looked at.
            body = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    _require_its_tokenizer(recipe.weights, view)
    drawn = recipe.weights == "drawn" or (recipe.weights == "auto" and spec.checkpoint is None)
    if body is not None or not drawn:
        natives = None if spec.native is None else examples.natives
        initial_weights(spec, step, network, body, natives, known)
    dataset = examples.dataset(view)
    validate(tuple({recipe.monitor, *recipe.metrics}), view.objective, network.classes)
    balanced = recipe.class_weights == "balanced"
    stated = recipe.model_copy(update={"class_weights": None}) if balanced else recipe
    # Fitting may read everything; whether it can be done, a row shows as well.
    inputs = reading(dataset, rows[:1], view, stated, spec.seed, step)
    schedule = Schedule(recipe, 1, rows, spec.seed, step, inputs)
    require_rows(dataset.x, max(schedule.sizes), step)


def _require_its_tokenizer(weights: str, view: View) -> None:
    """Refuse a body that knows other tokens than those that are trained for the data.

    Its table would have a row for each number and mean something else by it.
    """
    own = Path(weights) / TOKENIZER
    section = view.section
    if section.source in TEXTS and section.tokenizer.path is None and is_file(own):
        raise SpecError(
            f"weights = {weights!r} know the tokens of {own}, but a tokenizer would be trained on "
            f"the data; set data.tokenizer.path = {weights!r}, or name it as the checkpoint"
        )
