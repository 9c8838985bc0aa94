"""Networks, tasks and plans as JSON values and arrays, and back; nothing else crosses."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from paribus.adapter import Task
from paribus.architectures import Network, build
from paribus.architectures.parts import Part, part
from paribus.belongings import Belongings, ImageProcessing
from paribus.native.network import NativeNetwork
from paribus.plan import Augmentation, EvalPlan, Preprocess, Targets, TrainPlan
from paribus.remote.native import from_native, to_native
from paribus.tuning import Choice, Tuning

Values = dict[str, Any]


def from_network(network: Network) -> Values:
    """Return what rebuilds a network, a part of one, or a model of the user's own."""
    if isinstance(network, NativeNetwork):
        return {"native": from_native(network)}
    if isinstance(network, Part):
        return {**from_network(network.whole), "part": [network.side, network.boundary]}
    return {
        "architecture": network.architecture,
        "parameters": dict(network.parameters),
        "input_shape": network.input_shape,
        "classes": network.classes,
        "objective": network.objective,
    }


def to_network(values: Values) -> Network:
    """Rebuild a network; its parameters are validated again."""
    if "native" in values:
        return to_native(values["native"])
    whole = build(
        values["architecture"],
        values["parameters"],
        tuple(values["input_shape"]),
        values["classes"],
        values["objective"],
    )
    return whole if "part" not in values else part(whole, *values["part"])


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
    for name in ("preprocess", "augmentation", "targets"):
        part = values.get(name)
        if part is not None:
            values[name] = {field.name: getattr(part, field.name) for field in fields(part)}
    return values


def to_train_plan(values: Values) -> TrainPlan:
    """Rebuild a training plan."""
    drawn = values["augmentation"]
    augmentation = None if drawn is None else Augmentation(**drawn)
    rest = {"preprocess": _preprocess(values), "targets": _targets(values)}
    return TrainPlan(**{**values, **rest, "augmentation": augmentation})


def to_eval_plan(values: Values) -> EvalPlan:
    """Rebuild an evaluation plan."""
    rest = {"preprocess": _preprocess(values), "targets": _targets(values)}
    return EvalPlan(**{**values, **rest})


def _preprocess(values: Values) -> Preprocess:
    given = values["preprocess"]
    crop = given["crop"]
    return Preprocess(
        tuple(given["scale"]),
        tuple(given["shift"]),
        None if crop is None else (crop[0], crop[1]),
        given["length"],
    )


def _targets(values: Values) -> Targets | None:
    given = values["targets"]
    return None if given is None else Targets(**given)


def from_tuning(tuning: Tuning) -> Values:
    """Return what a session may choose, and what is known already."""
    return {
        "tolerance": tuning.tolerance,
        "folder": None if tuning.folder is None else str(tuning.folder.absolute()),
        "earlier": [choice.model_dump() for choice in tuning.earlier],
        "least_work": tuning.least_work,
    }


def to_tuning(values: Values) -> Tuning:
    """Rebuild the permission to choose."""
    folder = values["folder"]
    earlier = tuple(Choice.model_validate(one) for one in values["earlier"])
    place = None if folder is None else Path(folder)
    return Tuning(values["tolerance"], place, earlier, values["least_work"])


def from_belongings(belongings: Belongings) -> Values:
    """Return the fields of what goes with a model."""
    return asdict(belongings)


def to_belongings(values: Values) -> Belongings:
    """Rebuild what goes with a model; its lists become tuples again."""
    given, image = values["image"], None
    if given is not None:
        lists = {key: tuple(value) for key, value in given.items() if isinstance(value, list)}
        image = ImageProcessing(**{**given, **lists})
    return Belongings(**{**values, "class_names": tuple(values["class_names"]), "image": image})
