"""What the steps of one experiment share: the machine, the data, and what has been found so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from paribus import weights
from paribus.adapter import Array
from paribus.architectures import Network
from paribus.features.entry import Kept
from paribus.judging import Judge
from paribus.machine import Machine
from paribus.progress import Progress
from paribus.runstate.keeper import Keeper
from paribus.spec.sections import Spec
from paribus.steps.examples import Examples, View


@dataclass(frozen=True)
class Model:
    """Weights with everything that is needed to use them.

    Attributes:
        data: the data whose test rows judge it.
        judge: how they are judged; its preprocessing was fitted on the rows that it was trained on.
    """

    network: Network
    weights: dict[str, Array]
    data: View
    judge: Judge

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the weights (``weights.fingerprint``)."""
        return weights.fingerprint(self.weights)


@dataclass
class Experiment:
    """The state that passes from step to step.

    Attributes:
        spec: the spec with every choice made so far applied.
        keeper: runs trainings, or tells of those that an earlier leg of the run has finished.
        pretrained: results of pretraining by the content of what was trained.
        pretrains: whether the pretrain step has run, so that ``weights = "auto"`` means it.
        model: the latest trained model, or None.
        results: what each step reports, for ``result.json``.
        said: what ``say_once`` has said.
        features: of frozen bodies, by what they depend on.
        weights: that were read or drawn, by where they come from.
    """

    spec: Spec
    examples: Examples
    machine: Machine
    record: Callable[[list[dict[str, Any]]], None]
    progress: Progress
    keeper: Keeper
    pretrained: dict[str, Model] = field(default_factory=dict)
    pretrains: bool = False
    model: Model | None = None
    results: dict[str, Any] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)
    features: dict[str, Kept] = field(default_factory=dict)
    weights: dict[str, dict[str, Array]] = field(default_factory=dict)

    def seconds(self) -> float:
        """Return a wall clock that counts what earlier legs of the run took, too."""
        return time.perf_counter() + self.keeper.earlier_seconds

    def say_choices(self) -> None:
        """Tell the user what sessions have chosen and remarked since this was called last."""
        for choice in self.machine.choices:
            self.say_once(choice.sentence)
            if choice.note:
                self.say_once(choice.note)
        for remark in self.machine.remarks:
            self.say_once(remark)

    def say_once(self, message: str) -> None:
        """Tell the user something that holds for many trainings alike."""
        if message not in self.said:
            self.said.add(message)
            self.progress.note(message)
