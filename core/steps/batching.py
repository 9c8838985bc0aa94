"""Which of a step's trainings are made together, and making them.

Trainings of one network and task, on the same examples and with steps of the same size, differ in
rows, order and numbers alone: the folds of a candidate, the trials of a search. Where a step's
arithmetic is small beside the calls that it takes, they are made as one computation on backends
that can (``paribus.replicas``); elsewhere one after another. What comes out is the same to
rounding, and so are its order and the rows of ``metrics.jsonl``, whose order in the file differs.

What is decided follows from the spec, the data and the backend's claims, never from a clock: a run
that is repeated, or goes on, decides alike.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from paribus import data, together
from paribus.adapter import Task
from paribus.architectures import INPUT, Network
from paribus.architectures.cost import products
from paribus.batches import Shared
from paribus.data import Dataset, Streamed
from paribus.errors import NonFiniteLoss, OutOfMemory
from paribus.features.opening import opened_together, tail_of
from paribus.machine import Machine
from paribus.optimizers import RULES
from paribus.runstate.records import Identity
from paribus.spec.sections import Spec
from paribus.spec.training import Recipe
from paribus.stepping import Training, silent
from paribus.steps.examples import View
from paribus.steps.experiment import Experiment
from paribus.steps.fitting import (
    Fitted,
    Job,
    Prepared,
    fit_alone,
    outline,
    prepare,
    training_of,
    work_of,
)
from paribus.together import Replica

# Bytes that the weights, slots and kept weights of trainings made together may take.
MEMORY = 512 << 20


@dataclass(frozen=True)
class Outcome:
    """What became of a job: fitted, or else the error that says where it diverged.

    Attributes:
        seconds: wall time; of trainings made together, its share.
    """

    fitted: Fitted | None
    error: NonFiniteLoss | None
    seconds: float


def fit_many(experiment: Experiment, jobs: Sequence[Job]) -> Generator[Outcome, None, None]:
    """Make trainings and yield their outcomes in the order of the jobs, each when it is there.

    What an earlier leg of the run has finished is told again, not trained again.
    """
    experiment.keeper.expect([job.labels for job in jobs])
    groups = _groups(experiment, jobs)
    found: dict[int, Outcome] = {}
    for index, job in enumerate(jobs):
        if index in groups:
            some = groups[index]
            try:
                found |= _together(experiment, {i: jobs[i] for i in some})
            except OutOfMemory as error:
                error.trainings = len(some)
                raise
            for one in some:
                groups.pop(one, None)
        yield found.pop(index) if index in found else _alone(experiment, job)


def _alone(experiment: Experiment, job: Job) -> Outcome:
    began = experiment.seconds()
    try:
        fitted = fit_alone(experiment, job)
    except NonFiniteLoss as error:
        return Outcome(None, error, experiment.seconds() - began)
    return Outcome(fitted, None, experiment.seconds() - began)


def _together(experiment: Experiment, jobs: Mapping[int, Job]) -> dict[int, Outcome]:
    """Make trainings as one computation, without those that an earlier leg has finished.

    Those of a frozen body whose features cannot be kept are left to be made alone.
    """
    found: dict[int, Outcome] = {}
    ready = _prepared(experiment, jobs)
    left: dict[int, Prepared] = {}
    for index, one in ready.items():
        began = experiment.seconds()
        try:
            trained = experiment.keeper.recall(one.identity, silent, one.judge.metrics, None)
        except NonFiniteLoss as error:
            found[index] = Outcome(None, error, experiment.seconds() - began)
            continue
        if trained is None:
            left[index] = one
        else:
            found[index] = Outcome(one.fitted(trained), None, trained.seconds)
    if not left:
        return found
    first = next(iter(ready.values()))
    # As many as there are jobs, also where some have ended: what is compiled is then the same.
    opened = opened_together(
        experiment, [work_of(experiment, one) for one in left.values()], len(jobs)
    )
    if opened is None:
        return found
    replicas, supply = opened
    number = {index: n for n, index in enumerate(jobs)}
    works: dict[int, tuple[Identity, Training]] = {}
    for index, one in left.items():
        replica = Replica(replicas, number[index], 1 / len(left))
        replica.import_weights(one.initial.tensors)
        works[index] = one.identity, training_of(experiment, one, replica, supply)
    step = first.job.labels["step"]
    experiment.say_once(
        f"{step}: trainings of the same shape are made together, {len(jobs)} at a time "
        "(batched_trainings = false makes them one after another)"
    )
    run = partial(
        _run, supply=supply, title=f"{step} {len(jobs)} trainings", progress=experiment.progress
    )
    endings = experiment.keeper.train_together(works, run)
    for index, ending in endings.items():
        seconds = works[index][1].position.seconds
        found[index] = (
            Outcome(None, ending, seconds)
            if isinstance(ending, NonFiniteLoss)
            else Outcome(left[index].fitted(ending), None, seconds)
        )
    return found


def _run(works: Any, keeping: Any, ended: Any, *, supply: Any, title: str, progress: Any) -> None:
    together.run(works, supply.handle, title, keeping, progress, ended)


def _prepared(experiment: Experiment, jobs: Mapping[int, Job]) -> dict[int, Prepared]:
    """Prepare jobs; those of the same batches share what they draw."""
    shared: dict[Any, Shared] = {}
    found = {}
    for index, job in jobs.items():
        one = prepare(experiment, job)
        drawn = shared.setdefault(one.schedule.batches, Shared())
        found[index] = replace(one, schedule=replace(one.schedule, shared=drawn))
    return found


def _groups(experiment: Experiment, jobs: Sequence[Job]) -> dict[int, list[int]]:
    """Return, by job, the jobs that are made together with it; others are made alone."""
    alike: dict[Any, list[int]] = {}
    most: dict[Any, int] = {}
    machine, cached = experiment.machine, experiment.spec.cache.enabled
    for index, job in enumerate(jobs):
        dataset, network, task = outline(experiment, job)
        kind = kind_of(machine, cached, job.spec, job.view, dataset, network, task, job.recipe)
        if kind is None or job.lasting or job.after_epoch is not silent:
            continue
        alike.setdefault(kind.key, []).append(index)
        most[kind.key] = kind.most
    found: dict[int, list[int]] = {}
    for key, members in alike.items():
        size = wave(len(members), most[key])
        for start in range(0, len(members), size):
            some = members[start : start + size]
            if len(some) > 1:
                found |= dict.fromkeys(some, some)
    return found


@dataclass(frozen=True)
class Kind:
    """Trainings that may be made together.

    Attributes:
        key: equal for those that may; most: so many at a time.
    """

    key: str
    most: int


def kind_of(
    machine: Machine,
    cached: bool,
    spec: Spec,
    view: View,
    dataset: Dataset,
    network: Network,
    task: Task,
    recipe: Recipe,
) -> Kind | None:
    """Return which trainings one may be made together with; None where it gains nothing by it.

    Args:
        cached: whether features of frozen bodies are wanted; the others: of the training.
    """
    # Of a frozen body only what trains is there many times.
    trains = tail_of(machine, cached, network, task) or network
    if not _fits(machine, spec, view, dataset, trains, task, recipe):
        return None
    key = repr((
        dataset.fingerprint, network.architecture, dict(network.parameters),
        network.input_shape, network.classes, network.objective, task, recipe.batch_size,
        recipe.shards,
    ))  # fmt: skip
    copies = 4 + len(RULES[task.rule].slots)
    fits = MEMORY // (copies * 8 * trains.parameter_count)
    together = machine.thrift.together
    return Kind(key, max(2, fits if together is None else min(fits, together)))


def wave(count: int, most: int) -> int:
    """Return how many of ``count`` trainings are made together, at most ``most``."""
    return -(-count // -(-count // most))


def _fits(
    machine: Machine,
    spec: Spec,
    view: View,
    dataset: Dataset,
    network: Network,
    task: Task,
    recipe: Recipe,
) -> bool:
    """Whether a training may be made together with others like it, and gains by it.

    ``network`` is what there would be many of.
    """
    names = (INPUT, *(node.name for node in network.nodes))
    chain = all(
        node.inputs == (before,) for before, node in zip(names, network.nodes, strict=False)
    )
    convolves, able = "conv2d" in network.operations, machine.backend.capabilities
    most = able.replicated_convolutions if convolves else able.replicated_work
    transform = view.section.transform
    drawn = data.augmentation(transform, dataset.stored_size, spec.seed, 0, 1, "")
    return (
        spec.batched_trainings
        and machine.thrift.together != 1
        and chain
        and network.operations <= able.replicated
        and machine.device.partition(":")[0] in able.replicated_devices
        and machine.precision in (("float32",) if convolves else ("float32", "float64"))
        and network.objective in ("classification", "regression")
        and not isinstance(dataset.x, Streamed)
        and drawn is None
        and not task.native_noise
        and products(network) * recipe.batch_size <= most
    )
