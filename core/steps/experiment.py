"""What the steps of one experiment share: the machine, the data, and what has been found so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from paribus import data as datasets
from paribus.adapter import Array
from paribus.architectures import Network
from paribus.data import Dataset, Split
from paribus.errors import DataError
from paribus.machine import Machine
from paribus.plan import Integers, Preprocess
from paribus.progress import Progress
from paribus.spec.data import Data
from paribus.spec.sections import Spec


@dataclass(frozen=True)
class Model:
    """Weights with everything that is needed to use them.

    Attributes:
        data: the section whose test rows judge it.
        preprocess: fitted on the rows that it was trained on.
    """

    network: Network
    weights: dict[str, Array]
    preprocess: Preprocess
    data: Data


@dataclass
class Experiment:
    """The state that passes from step to step.

    Attributes:
        spec: the spec with every choice made so far applied.
        pretrained: results of pretraining by the content of what was trained.
        pretrains: whether the pretrain step has run, so that ``weights = "auto"`` means it.
        model: the latest trained model, or None.
        results: what each step reports, for ``result.json``.
    """

    spec: Spec
    machine: Machine
    record: Callable[[list[dict[str, Any]]], None]
    progress: Progress
    pretrained: dict[str, Model] = field(default_factory=dict)
    pretrains: bool = False
    model: Model | None = None
    results: dict[str, Any] = field(default_factory=dict)
    _datasets: dict[str, Dataset] = field(default_factory=dict)
    _splits: dict[str, Split] = field(default_factory=dict)

    def dataset(self, section: Data) -> Dataset:
        """Return the examples of a data section, read once for all sections that agree on them."""
        # `limit` chooses by the split's seed, so that is part of what the examples are.
        key = section.model_dump_json(exclude={"split": True, "transform": True})
        key += str(section.split.seed)
        if key not in self._datasets:
            self._datasets[key] = datasets.load(section, self.spec.seed)
        return self._datasets[key]

    def split(self, section: Data) -> Split:
        """Return the rows of a section's training, validation and test parts."""
        key = section.model_dump_json(exclude={"transform"})
        if key not in self._splits:
            dataset = self.dataset(section)
            self._splits[key] = datasets.split(dataset, section.split, self.spec.seed)
        return self._splits[key]

    def development(self, section: Data) -> Integers:
        """Return the sorted rows that may be looked at freely: training and validation."""
        split = self.split(section)
        return np.sort(np.concatenate((split.train, split.validation)))

    def folds(self, section: Data, scheme: str, folds: int, repeats: int, validation: float) -> Any:
        """Return the folds of a section's development rows; the same on every backend."""
        return datasets.folds(
            self.dataset(section),
            self.development(section),
            scheme,  # type: ignore[arg-type]
            folds,
            repeats,
            self.spec.seed,
            validation,
        )


def step_data(spec: Spec, step: str) -> Data:
    """Return the data section of ``pretrain`` or of the task."""
    return (spec.pretrain.data or spec.data) if step == "pretrain" else spec.data


def same_rows(first: Dataset, second: Dataset, name: str) -> None:
    """Require that two candidates' datasets have the same examples, so that folds are shared.

    Raises:
        DataError: they do not.
    """
    if len(first.y) != len(second.y) or not np.array_equal(first.y, second.y):
        raise DataError(f"candidate {name!r} sees other examples; folds could not be the same")
