"""What can be known to fail is found before the first step trains, and before a folder is made.

A run that ends in its third hour because a candidate names a stage that its network lacks has
cost three hours. Reading the data, cutting the folds and building every network costs a moment.
"""

from __future__ import annotations

import numpy as np

from paribus import data as datasets
from paribus import weights
from paribus.adapter import Array
from paribus.batches import Schedule
from paribus.feeding import require_rows
from paribus.plan import Integers
from paribus.spec import variant
from paribus.spec.sections import Spec
from paribus.steps.examples import Examples, step_data
from paribus.steps.initial import initial_weights


def prepare(spec: Spec, examples: Examples) -> None:
    """Read all data of a spec, split it, and build every network that it names.

    Raises:
        SpecError, DataError, WeightsError: what a step would meet later.
    """
    specs = [spec]
    for place, step in enumerate(spec.steps):
        pretrains = "pretrain" in spec.steps[:place]
        if step == "select" and spec.select is not None:
            # One of them is what the later steps will see.
            specs = _select(spec, examples, pretrains)
            continue
        recipe = spec.optimize.step if step == "optimize" and spec.optimize is not None else step
        for one in specs:
            _check(one, recipe, examples.split(step_data(one, recipe)).train, examples, pretrains)
        if step == "optimize" and spec.optimize is not None:
            examples.search_folds(step_data(spec, recipe), spec.optimize)


def _select(spec: Spec, examples: Examples, pretrains: bool) -> list[Spec]:
    section = spec.select
    assert section is not None
    folds = examples.selection_folds(step_data(spec, section.step), section)
    fewest = min((fold.train for fold in folds), key=len)
    variants = [variant(spec, one.patch, one.name) for one in section.candidates]
    for candidate, other in zip(section.candidates, variants, strict=True):
        examples.require_same_rows(spec, other, section.step, candidate.name)
        _check(other, section.step, fewest, examples, pretrains)
    return variants


def _check(spec: Spec, step: str, rows: Integers, examples: Examples, pretrains: bool) -> None:
    recipe, section = spec.recipe(step), step_data(spec, step)
    network = examples.network(spec, step)
    body: dict[str, Array] | None = None
    if step == "finetune":
        network.trainable(spec.finetune.freeze)
        if pretrains and spec.finetune.weights == "auto":
            shapes = weights.shapes(examples.network(spec, "pretrain"))
            # Of the right shape, and no memory behind it: only shapes are looked at.
            body = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    if body is not None or recipe.weights not in ("auto", "drawn"):
        initial_weights(spec, step, network, body)
    dataset = examples.dataset(section)
    preprocess = datasets.fit(dataset, rows[:1], section.transform)
    schedule = Schedule(recipe, 1, rows, spec.seed, step, preprocess, lambda epoch, count: None)
    require_rows(dataset.x, max(schedule.sizes), step)
