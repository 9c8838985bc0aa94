"""The examples that an experiment looks at: read once, split once, the same for every step."""

from __future__ import annotations

import numpy as np

from paribus import data as datasets
from paribus.architectures import Network
from paribus.data import Dataset, Fold, Split, Streamed
from paribus.errors import DataError
from paribus.plan import Integers
from paribus.spec.data import Data
from paribus.spec.sections import Optimize, Select, Spec


class Examples:
    """Datasets and splits by data section; those that agree on the examples share them.

    What judges the task is never trained on: pretraining on the same source, with other classes or
    another limit, leaves out the task's validation and test rows (and the rest of their groups).
    """

    def __init__(self, spec: Spec) -> None:
        self._seed = spec.seed
        self._task = spec.data if any(step != "pretrain" for step in spec.steps) else None
        self._datasets: dict[str, Dataset] = {}
        self._splits: dict[str, Split] = {}

    def dataset(self, section: Data) -> Dataset:
        """Return the examples of a data section.

        Raises:
            DataError, SpecError: they cannot be read, or are not what the section asks for.
        """
        # `limit` chooses by the split's seed, so that is part of what the examples are.
        key = section.model_dump_json(exclude={"split": True, "transform": True})
        key += str(section.split.seed)
        if key not in self._datasets:
            self._datasets[key] = datasets.load(section, self._seed)
        return self._datasets[key]

    @property
    def skipped(self) -> list[str]:
        """Return the names of all files that could not be read and were left out so far."""
        return list(dict.fromkeys(n for d in self._datasets.values() for n in d.skipped))

    @property
    def streamed(self) -> bool:
        """Whether some of the data read so far is larger than the memory, and streamed."""
        return any(isinstance(dataset.x, Streamed) for dataset in self._datasets.values())

    def split(self, section: Data) -> Split:
        """Return the rows of a section's training, validation and test parts.

        Raises:
            DataError, SpecError: a part that is asked for would be empty, or lacks a class.
        """
        key = section.model_dump_json(exclude={"transform"})
        if key not in self._splits:
            dataset = self.dataset(section)
            found = datasets.split(dataset, section.split, self._seed)
            held = self.held_out(section)
            if len(held):
                train, validation = (np.setdiff1d(rows, held) for rows in found[:2])
                found = Split(train, validation, found.test)
                self._require_classes(dataset, found, len(held))
            self._splits[key] = found
        return self._splits[key]

    def held_out(self, section: Data) -> Integers:
        """Return the rows of a section, sorted, that are kept from training to judge the task."""
        task = self._task
        none = np.empty(0, dtype=np.int64)
        if task is None or _examples_of(section) == _examples_of(task):
            return none
        if (section.source, section.path) != (task.source, task.path):
            return none
        ours, theirs, split = self.dataset(section), self.dataset(task), self.split(task)
        judges = np.concatenate((split.validation, split.test))
        if ours.groups is not None and theirs.groups is not None:
            return np.flatnonzero(np.isin(ours.groups, theirs.groups[judges]))
        assert ours.source_rows is not None
        assert theirs.source_rows is not None
        return np.flatnonzero(np.isin(ours.source_rows, theirs.source_rows[judges]))

    def _require_classes(self, dataset: Dataset, split: Split, held: int) -> None:
        left = np.bincount(dataset.y[split.train], minlength=dataset.classes)
        for label in np.flatnonzero(left == 0):
            raise DataError(
                f"pretrain.data: no training row of class {dataset.class_names[label]!r} is left, "
                f"since {held} of its rows judge the task as [data]'s validation and test rows; "
                "choose other classes, or smaller shares in data.split"
            )

    def selection_folds(self, section: Data, select: Select) -> list[Fold]:
        """Return the folds that all candidates share, of the development rows."""
        return datasets.folds(
            self.dataset(section),
            self._development(section),
            select.scheme,
            select.folds,
            select.repeats,
            self._seed,
            select.validation,
        )

    def search_folds(self, section: Data, optimize: Optimize) -> list[Fold]:
        """Return the folds that all trials share; empty where the validation part judges them."""
        if optimize.folds == 0:
            return []
        rows = self._development(section)
        return datasets.folds(self.dataset(section), rows, "auto", optimize.folds, 1, self._seed)

    def network(self, spec: Spec, step: str) -> Network:
        """Return the network of a spec's model section for a step's data.

        Raises:
            SpecError: the examples do not fit the architecture.
        """
        section = step_data(spec, step)
        dataset = self.dataset(section)
        return spec.model.network(dataset.input_shape(section.transform), dataset.classes)

    def require_same_rows(self, spec: Spec, other: Spec, step: str, name: str) -> None:
        """Require that a candidate sees the same examples, so that folds are shared.

        Raises:
            DataError: it does not.
        """
        first, second = (self.dataset(step_data(s, step)) for s in (spec, other))
        if not np.array_equal(first.y, second.y):
            raise DataError(f"candidate {name!r} sees other examples; folds could not be the same")

    def _development(self, section: Data) -> Integers:
        """Return the sorted rows that may be looked at freely: training and validation."""
        split = self.split(section)
        return np.sort(np.concatenate((split.train, split.validation)))


def step_data(spec: Spec, step: str) -> Data:
    """Return the data section of ``pretrain`` or of the task."""
    return (spec.pretrain.data or spec.data) if step == "pretrain" else spec.data


def _examples_of(section: Data) -> str:
    """Return what decides about a section's examples and its split."""
    return section.model_dump_json(exclude={"transform", "image"})
