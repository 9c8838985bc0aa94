"""Networks, tasks and plans as JSON values and arrays, and back; nothing else crosses."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from paribus.adapter import Task
from paribus.architectures import Network, build
from paribus.plan import Augmentation, EvalPlan, Preprocess, TrainPlan

Values = dict[str, Any]


def from_network(network: Network) -> Values:
    """Return the four fields that rebuild a network."""
    return {
        "architecture": network.architecture,
        "parameters": dict(network.parameters),
        "input_shape": network.input_shape,
        "classes": network.classes,
    }


def to_network(values: Values) -> Network:
    """Rebuild a network; its parameters are validated again."""
    return build(
        values["architecture"],
        values["parameters"],
        tuple(values["input_shape"]),
        values["classes"],
    )


def from_task(task: Task) -> Values:
    """Return a task's fields."""
    return {field.name: getattr(task, field.name) for field in fields(task)}


def to_task(values: Values) -> Task:
    """Rebuild a task; its lists of names become tuples again."""
    names = {key: tuple(values[key]) for key in ("trainable", "decayed")}
    return Task(**{**values, **names})


def from_plan(plan: TrainPlan | EvalPlan) -> Values:
    """Return a plan's fields, arrays as they are."""
    values = {field.name: getattr(plan, field.name) for field in fields(plan)}
    for name in ("preprocess", "augmentation"):
        part = values.get(name)
        if part is not None:
            values[name] = {field.name: getattr(part, field.name) for field in fields(part)}
    return values


def to_train_plan(values: Values) -> TrainPlan:
    """Rebuild a training plan."""
    drawn = values["augmentation"]
    augmentation = None if drawn is None else Augmentation(**drawn)
    rest = {**values, "preprocess": _preprocess(values), "augmentation": augmentation}
    return TrainPlan(**rest)


def to_eval_plan(values: Values) -> EvalPlan:
    """Rebuild an evaluation plan."""
    return EvalPlan(**{**values, "preprocess": _preprocess(values)})


def _preprocess(values: Values) -> Preprocess:
    given = values["preprocess"]
    crop = given["crop"]
    return Preprocess(
        tuple(given["scale"]), tuple(given["shift"]), None if crop is None else (crop[0], crop[1])
    )
