"""Which training this is: hashes of all that it depends on; a run that goes on knows it by them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from paribus import weights
from paribus.adapter import Task
from paribus.architectures import Network
from paribus.batches import Schedule
from paribus.data import Dataset
from paribus.features.keys import content
from paribus.judging import Judge
from paribus.native.network import NATIVE
from paribus.plan import Integers
from paribus.runstate.records import Identity
from paribus.steps.initial import Initial


def identity_of(
    labels: Mapping[str, Any],
    dataset: Dataset,
    validation_rows: Integers,
    schedule: Schedule,
    judge: Judge,
    network: Network,
    task: Task,
    initial: Initial,
) -> Identity:
    """Return which training this is, whatever file its data and initial weights came from."""
    preprocess = schedule.inputs.preprocess
    numbers = [list(map(float, values)) for values in (preprocess.scale, preprocess.shift)]
    # What a builder of the user's own draws is not a function of the seed alone.
    drawn = initial.origin == "drawn" and network.architecture != NATIVE
    depends = {
        "examples": dataset.fingerprint,
        "rows": weights.fingerprint({"train": schedule.rows, "validation": validation_rows}),
        "preprocessing": _digest(numbers, preprocess.crop, preprocess.length),
        "recipe": _digest(
            schedule.recipe.model_dump(mode="json", exclude={"data", "weights"}),
            schedule.epochs, schedule.seed, schedule.stream, judge.metrics,
        ),
        "network": _digest(
            network.architecture, dict(network.parameters), network.input_shape, network.classes,
            network.objective, vars(task),
        ),
        "initial weights": "drawn" if drawn else _digest(
            {name: content(array) for name, array in initial.tensors.items()}
        ),
    }  # fmt: skip
    return Identity(labels=dict(labels), depends=depends)


def _digest(*values: Any) -> str:
    return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
