"""What a run will train, before it does: a training for each step, candidate and edge of a search.

Which trial a sampler proposes is not known in advance, but the box that it proposes from is. Its
corners are what every value can be by itself, with the others at their first, and all at their
last; a network that is too large is so at one of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from paribus.plan import Integers
from paribus.spec import assign, variant
from paribus.spec.sections import Optimize, Range, Spec
from paribus.steps.examples import Examples, step_data


@dataclass(frozen=True)
class Planned:
    """A training that a run may come to.

    Attributes:
        where: what people call it.
        spec: the experiment's, a candidate's or a trial's; step: whose recipe trains.
        rows, validation: int64, of the step's dataset.
        metrics: to judge by, besides the recipe's.
        alike: how many trainings of the same kind are asked for at once; 1 where one is.
    """

    where: str
    spec: Spec
    step: str
    rows: Integers
    validation: Integers
    metrics: tuple[str, ...] = ()
    alike: int = 1


def planned(spec: Spec, examples: Examples) -> Iterator[Planned]:
    """Yield what the steps of a spec may train, in their order.

    Raises:
        SpecError: values of the search exclude each other.
        DataError: as of ``Examples``.
    """
    specs = {"": spec}
    pretrains = False
    for step in spec.steps:
        if step == "select" and spec.select is not None:
            section = spec.select
            specs = {
                f" for candidate {one.name!r}": variant(spec, one.patch, one.name)
                for one in section.candidates
            }
            view = step_data(spec, section.step)
            folds = examples.selection_folds(view, section)
            fold = min(folds, key=lambda one: len(one.train))
            for name, other in specs.items():
                if pretrains and section.step == "finetune" and other.finetune.weights == "auto":
                    yield _whole(f"pretrain{name}", other, "pretrain", examples)
                where = f"select{name.replace(' for', '')}"
                metrics = (section.metric,)
                yield Planned(
                    where, other, section.step, fold.train, fold.validation, metrics, len(folds)
                )
        elif step == "optimize" and spec.optimize is not None:
            for name, base in specs.items():
                yield from _trials(name, base, spec.optimize, examples)
        else:
            pretrains = pretrains or step == "pretrain"
            for name, base in specs.items():
                yield _whole(f"{step}{name}", base, step, examples)


def _whole(where: str, spec: Spec, step: str, examples: Examples) -> Planned:
    split = examples.split(step_data(spec, step))
    return Planned(where, spec, step, split.train, split.validation)


def _trials(name: str, base: Spec, section: Optimize, examples: Examples) -> Iterator[Planned]:
    view = step_data(base, section.step)
    split = examples.split(view)
    rows, validation = split.train, split.validation
    folds = examples.search_folds(view, section)
    if folds:
        fold = min(folds, key=lambda one: len(one.train))
        rows, validation = fold.train, fold.validation
    at_once = _proposed(section) * max(1, len(folds))
    for values in corners(section.search):
        said = ", ".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
        where = f"optimize{name}, a trial with {said}"
        trial = assign(base, values, f"trial with {said}")
        metrics = (section.metric,)
        yield Planned(where, trial, section.step, rows, validation, metrics, at_once)


def _proposed(section: Optimize) -> int:
    """Return how many trials are proposed without a look at results of others."""
    if section.pruner != "none":
        return 0  # one training after another
    if section.sampler == "grid":
        spaces = section.search.values()
        return prod(len(s.points() if isinstance(s, Range) else s) for s in spaces)
    return 1 if section.sampler == "tpe" else section.trials


def corners(search: Mapping[str, Range | list[Any]]) -> list[dict[str, Any]]:
    """Return trials at the edges of a search space, each once."""
    values = {
        key: [space.low, space.high] if isinstance(space, Range) else list(space)
        for key, space in search.items()
    }
    first = {key: some[0] for key, some in values.items()}
    found = [first, {key: some[-1] for key, some in values.items()}]
    found += [{**first, key: value} for key, some in values.items() for value in some[1:]]
    return [one for place, one in enumerate(found) if one not in found[:place]]
