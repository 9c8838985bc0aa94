"""What can be known to fail is found before the first step trains, and before a folder is made.

A run that ends in its third hour because a candidate names a stage that its network lacks has
cost three hours. Reading the data, cutting the folds and building every network costs a moment.
"""

from __future__ import annotations

from pathlib import Path

from paribus import data as datasets
from paribus import weights
from paribus.batches import Schedule
from paribus.errors import SpecError
from paribus.plan import Integers
from paribus.spec import variant
from paribus.spec.sections import Spec
from paribus.steps.examples import Examples, step_data


def prepare(spec: Spec, examples: Examples) -> None:
    """Read all data of a spec, split it, and build every network that it names.

    Raises:
        SpecError, DataError, WeightsError: what a step would meet later.
    """
    for step in spec.steps:
        if step == "select" and spec.select is not None:
            _select(spec, examples)
        elif step == "optimize" and spec.optimize is not None:
            data = step_data(spec, spec.optimize.step)
            _training(spec, spec.optimize.step, examples)
            examples.search_folds(data, spec.optimize)
        else:
            _training(spec, step, examples)


def _select(spec: Spec, examples: Examples) -> None:
    section = spec.select
    assert section is not None
    folds = examples.selection_folds(step_data(spec, section.step), section)
    for candidate in section.candidates:
        other = variant(spec, candidate.patch, candidate.name)
        examples.require_same_rows(spec, other, section.step, candidate.name)
        _check(other, section.step, min((f.train for f in folds), key=len), examples)


def _training(spec: Spec, step: str, examples: Examples) -> None:
    split = examples.split(step_data(spec, step))
    if len(split.train) == 0:
        raise SpecError(f"{step}: the training part has no rows; see data.split")
    _check(spec, step, split.train, examples)


def _check(spec: Spec, step: str, rows: Integers, examples: Examples) -> None:
    recipe, section = spec.recipe(step), step_data(spec, step)
    network = examples.network(spec, step)
    if step == "finetune":
        network.trainable(spec.finetune.freeze)
    if recipe.weights not in ("auto", "drawn"):
        weights.load(Path(recipe.weights))
    dataset = examples.dataset(section)
    preprocess = datasets.fit(dataset, rows[:1], section.transform)
    Schedule(recipe, 1, rows, spec.seed, step, preprocess, lambda epoch, count: None)
