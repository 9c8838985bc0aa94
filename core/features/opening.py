"""Which trainings compute their frozen body once, and the session and examples that they get."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paribus.adapter import Session, Task
from paribus.architectures import LANGUAGE, Network
from paribus.architectures.parts import Cut, cut, why_not
from paribus.features.providing import Features, Work
from paribus.features.store import NoRoom, Store, folder_of
from paribus.feeding import Feed, Supply
from paribus.inputs import Inputs
from paribus.machine import Machine
from paribus.replicas import Replicas
from paribus.steps.experiment import Experiment

# A row to ask whether something is drawn for it.
FIRST = np.zeros(1, dtype=np.int64)


def opened(experiment: Experiment, work: Work) -> tuple[Session, Feed]:
    """Return a session that has the training's initial weights, and its examples.

    With a frozen body they are its features, computed here if they are not known; the session
    behaves as one of the whole network does. Where that cannot be, the training is as it would be
    without, and the reason is said once.
    """
    found = _opened(experiment, work)
    if found is None:
        session = experiment.machine.session(work.network, work.task)
        found = session, experiment.machine.feed(session, work.dataset)
    found[0].import_weights(work.tensors)
    return found


def tail_of(machine: Machine, cached: bool, network: Network, task: Task) -> Network | None:
    """Return the part that trains, if a frozen body may be computed once; else None.

    What is drawn anew for each example is not looked at, and neither is room for the features.
    ``cached``: whether the spec wants features.
    """
    capable = machine.backend.capabilities.parts
    if machine.thrift.alone or not capable or not cached or not _frozen(network, task):
        return None
    parts = cut(network, task.trainable)
    return None if parts is None else parts.tail


def parts_of(
    machine: Machine, cached: bool, network: Network, task: Task, inputs: Inputs
) -> Cut | None:
    """Return the parts of a network whose frozen body a training computes once; else None."""
    if not cached or not _frozen(network, task):
        return None
    parts = cut(network, task.trainable)
    return None if _refusal(machine, network, task, inputs, parts) else parts


def opened_together(
    experiment: Experiment, works: Sequence[Work], count: int
) -> tuple[Replicas, Supply] | None:
    """Return replicas of one network and task, and the examples of all trainings.

    With a frozen body they are its features, and the replicas behave as those of the whole network
    do.

    Args:
        works: the trainings.
        count: replicas to open.

    Returns:
        None where a body is frozen, but the features are not kept, or not the same for all.
    """
    machine, first = experiment.machine, works[0]
    cached = experiment.spec.cache.enabled
    if tail_of(machine, cached, first.network, first.task) is None:
        replicas = machine.replicas(first.network, first.task, count)
        return replicas, machine.supply(replicas, first.dataset)
    openings = [_opening(experiment, work) for work in works]
    found = [opening for opening in openings if opening is not None]
    if len(found) < len(works) or len({opening.name for opening in found}) > 1:
        return None
    try:
        return found[0].together(count)
    except NoRoom as error:
        _say(experiment, str(error))
        return None


def _opened(experiment: Experiment, work: Work) -> tuple[Session, Feed] | None:
    opening = _opening(experiment, work)
    if opening is None:
        return None
    try:
        return opening.feed()
    except NoRoom as error:
        _say(experiment, str(error))
        return None


def _opening(experiment: Experiment, work: Work) -> Features | None:
    """Return what makes a training's features; None where there are none, which is said."""
    section = experiment.spec.cache
    if not section.enabled or not _frozen(work.network, work.task):
        return None
    parts = cut(work.network, work.task.trainable)
    inputs = work.schedule.inputs
    why = _refusal(experiment.machine, work.network, work.task, inputs, parts)
    if parts is None or why:
        _say(experiment, why)
        return None
    store = Store(
        folder_of(section.directory), int(section.limit * 2**30), experiment.progress.note
    )
    return Features(experiment, work, parts, store)


def _frozen(network: Network, task: Task) -> bool:
    parameters = [name for name, t in network.tensors.items() if t.kind == "parameter"]
    return len(task.trainable) < len(parameters)


def _say(experiment: Experiment, why: str) -> None:
    experiment.say_once(f"what is frozen is computed anew in every epoch: {why}")


def _refusal(
    machine: Machine, network: Network, task: Task, inputs: Inputs, parts: Cut | None
) -> str:
    """Return why features are not kept; empty where they are."""
    if machine.thrift.alone:
        return "the memory is short"
    if inputs.objective in LANGUAGE:
        return "a language model reads other tokens, or predicts them, in every step"
    if not machine.backend.capabilities.parts:
        return f"backend {machine.backend.name!r} cannot compute a part of a network"
    if inputs.copies is None and inputs.augment(0, FIRST) is not None:
        return (
            "crops and flips are drawn anew in each; data.transform.augment_copies = n draws n for "
            "good, which are computed once"
        )
    if parts is None:
        return why_not(network, task.trainable)
    if machine.precision == "bfloat16" and not parts.read_by_products:
        return (
            f"with precision = 'bfloat16', {parts.boundary.name!r} is read in a precision that is "
            "not kept"
        )
    return ""


__all__ = ["Work", "opened", "opened_together", "parts_of", "tail_of"]
