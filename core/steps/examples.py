"""The examples that an experiment looks at: read once, split once, the same for every step."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from paribus import data as datasets
from paribus.architectures import LANGUAGE, Network, Objective
from paribus.data import Dataset, Fold, Split, Streamed
from paribus.errors import DataError, RunError, SpecError
from paribus.native.natives import Natives
from paribus.plan import Integers
from paribus.spec.data import TEXTS, Data
from paribus.spec.sections import Optimize, Select, Spec


@dataclass(frozen=True)
class View:
    """A data section, and what is to be learned from it, which decides what its labels are.

    Attributes:
        tokens_of: whose tokenizer it reads texts with, where another step's is trained; None for
            its own.
    """

    section: Data
    objective: Objective = "classification"
    tokens_of: View | None = None

    @property
    def examples(self) -> str:
        """What decides about the examples and their split."""
        return self.objective + self.section.model_dump_json(exclude={"transform", "image"})

    @property
    def key(self) -> str:
        """What decides about everything that is read; the split's seed chooses with ``limit``."""
        section = self.section
        stored = section.model_dump_json(exclude={"split": True, "transform": True})
        tokens = "" if self.tokens_of is None else self.tokens_of.key
        return f"{self.objective} {stored} {section.split.seed} {tokens}"


class Examples:
    """Datasets and splits by view; those that agree on the examples share them.

    What judges the task is never trained on: pretraining on the same source, with other classes or
    another limit, or on its texts as a language, leaves out the task's validation and test rows
    (and the rest of their groups).
    """

    def __init__(self, spec: Spec, natives: Natives | None = None) -> None:
        """Read nothing yet.

        Args:
            spec: the experiment's.
            natives: its own models, where it has some.
        """
        self._seed, self._natives = spec.seed, natives
        judged = any(step != "pretrain" for step in spec.steps)
        self._task = step_data(spec, "finetune") if judged else None
        self._datasets: dict[str, Dataset] = {}
        self._splits: dict[str, Split] = {}

    def dataset(self, view: View) -> Dataset:
        """Return the examples of a view.

        Raises:
            DataError, SpecError: they cannot be read, or are not what the section asks for.
        """
        if view.key not in self._datasets:
            shared = None if view.tokens_of is None else self.dataset(view.tokens_of).tokens
            self._datasets[view.key] = datasets.load(
                view.section,
                self._seed,
                view.objective,
                self._held_texts(view),
                None if shared is None else shared.tokenizer,
            )
        return self._datasets[view.key]

    @property
    def skipped(self) -> list[str]:
        """Return the names of all files that could not be read and were left out so far."""
        return list(dict.fromkeys(n for d in self._datasets.values() for n in d.skipped))

    @property
    def streamed(self) -> bool:
        """Whether some of the data read so far is larger than the memory, and streamed."""
        return any(isinstance(dataset.x, Streamed) for dataset in self._datasets.values())

    def require_unchanged(self) -> None:
        """Require that what was streamed holds what it held when it was first looked at.

        Raises:
            RunError: a file holds something else.
            DataError: one cannot be read any more.
        """
        for dataset in self._datasets.values():
            changed = dataset.x.changed() if isinstance(dataset.x, Streamed) else None
            if changed is not None:
                raise RunError(
                    f"{changed}: holds something else than when the run began, and has the size "
                    "and the time of change that it had. What the run has learned is of both, so "
                    "none of its states is kept: give the command again to begin anew, and leave "
                    "data alone until a run is over"
                )

    def split(self, view: View) -> Split:
        """Return the rows of a view's training, validation and test parts.

        Raises:
            DataError, SpecError: a part that is asked for would be empty, or lacks a class.
        """
        key = view.key + view.section.split.model_dump_json()
        if key not in self._splits:
            dataset = self.dataset(view)
            found = datasets.split(dataset, view.section.split, self._seed)
            held = self.held_rows(view)
            if len(held):
                train, validation = (np.setdiff1d(rows, held) for rows in found[:2])
                found = Split(train, validation, found.test)
                self._require_classes(dataset, found, len(held))
            self._splits[key] = found
        return self._splits[key]

    def held_out(self, view: View) -> int:
        """Return how many of a view's examples are kept from training to judge the task."""
        texts = self._held_texts(view)
        return len(self.held_rows(view)) if texts is None else len(texts)

    def _judges(self, view: View) -> View | None:
        """Return the task, where its validation and test rows are among the view's examples."""
        task = self._task
        if task is None or view.examples == task.examples:
            return None
        same = (view.section.source, view.section.path) == (task.section.source, task.section.path)
        return task if same else None

    def _held_texts(self, view: View) -> Integers | None:
        """Return the source's rows that a language model must not read; None for other views."""
        task = self._judges(view) if view.objective in LANGUAGE else None
        if task is None or task.objective in LANGUAGE:
            return None
        # Only labels: what the task's tokens are may depend on what is left.
        theirs = datasets.labels(task.section, self._seed, task.objective)
        split = datasets.split(theirs, task.section.split, self._seed)
        judges = np.concatenate((split.validation, split.test))
        if theirs.groups is not None:
            judges = np.flatnonzero(np.isin(theirs.groups, theirs.groups[judges]))
        return judges if theirs.source_rows is None else theirs.source_rows[judges]

    def held_rows(self, view: View) -> Integers:
        """Return the rows of a view, sorted, that judge the task."""
        task = self._judges(view)
        none = np.empty(0, dtype=np.int64)
        if task is None or view.objective in LANGUAGE:
            return none
        ours, theirs, split = self.dataset(view), self.dataset(task), self.split(task)
        judges = np.concatenate((split.validation, split.test))
        if ours.groups is not None and theirs.groups is not None:
            return np.flatnonzero(np.isin(ours.groups, theirs.groups[judges]))
        if ours.source_rows is None or theirs.source_rows is None:
            return none
        return np.flatnonzero(np.isin(ours.source_rows, theirs.source_rows[judges]))

    def _require_classes(self, dataset: Dataset, split: Split, held: int) -> None:
        left = np.bincount(dataset.strata[split.train], minlength=dataset.classes)
        for label in np.flatnonzero(left == 0):
            what = f"of class {dataset.class_names[label]!r} " if dataset.class_based else ""
            raise DataError(
                f"pretrain.data: no training row {what}is left, "
                f"since {held} of its rows judge the task as [data]'s validation and test rows; "
                "choose other classes, or smaller shares in data.split"
            )

    def selection_folds(self, view: View, select: Select) -> list[Fold]:
        """Return the folds that all candidates share, of the development rows."""
        return datasets.folds(
            self.dataset(view),
            self.development(view),
            select.scheme,
            select.folds,
            select.repeats,
            self._seed,
            select.validation,
        )

    def search_folds(self, view: View, optimize: Optimize) -> list[Fold]:
        """Return the folds that all trials share; empty where the validation part judges them."""
        if optimize.folds == 0:
            return []
        rows = self.development(view)
        return datasets.folds(self.dataset(view), rows, "auto", optimize.folds, 1, self._seed)

    def network(self, spec: Spec, step: str) -> Network:
        """Return the network of a spec's model section for a step's data.

        Raises:
            SpecError: the examples do not fit the architecture.
        """
        view = step_data(spec, step)
        dataset = self.dataset(view)
        tokens = None if dataset.tokens is None else dataset.tokens.vocabulary
        shape = dataset.input_shape(view.section.transform)
        if spec.native is not None:
            return self.natives.network(shape, dataset.outputs, view.objective)
        section = spec.model.of_vocabulary(tokens)
        return section.network(shape, dataset.outputs, view.objective)

    @property
    def natives(self) -> Natives:
        """The spec's own models.

        Raises:
            SpecError: nobody has said on which backends they run.
        """
        if self._natives is None:
            raise SpecError("a spec with [native] is run on backends that have its models")
        return self._natives

    def require_same_rows(self, spec: Spec, other: Spec, step: str, name: str) -> None:
        """Require that a candidate sees the same examples, so that folds are shared.

        Raises:
            DataError: it does not.
        """
        first, second = (self.dataset(step_data(s, step)) for s in (spec, other))
        if not np.array_equal(first.y, second.y):
            raise DataError(f"candidate {name!r} sees other examples; folds could not be the same")

    def development(self, view: View) -> Integers:
        """Return the sorted rows that may be looked at freely: training and validation."""
        split = self.split(view)
        return np.sort(np.concatenate((split.train, split.validation)))


def step_data(spec: Spec, step: str) -> View:
    """Return the data of ``pretrain`` or of the task, and what is learned from it there."""
    pretrain = View(spec.pretrain.data or spec.data, spec.pretrain.objective)
    if step == "pretrain":
        return pretrain
    view = View(spec.data, spec.finetune.objective)
    goes_on = "pretrain" in spec.steps and spec.finetune.weights == "auto"
    texts = spec.data.source in TEXTS and pretrain.section.source in TEXTS
    if goes_on and texts and spec.data.tokenizer.path is None:
        # A body knows the tokens of the tokenizer that it was trained with.
        return replace(view, tokens_of=pretrain)
    return view
