"""What the steps of one experiment share: the machine, the data, and what has been found so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from paribus.adapter import Array
from paribus.architectures import Network
from paribus.machine import Machine
from paribus.plan import Preprocess
from paribus.progress import Progress
from paribus.spec.data import Data
from paribus.spec.sections import Spec
from paribus.steps.examples import Examples


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
    examples: Examples
    machine: Machine
    record: Callable[[list[dict[str, Any]]], None]
    progress: Progress
    pretrained: dict[str, Model] = field(default_factory=dict)
    pretrains: bool = False
    model: Model | None = None
    results: dict[str, Any] = field(default_factory=dict)
