"""What is verified: one training of a spec, cut into plans of a single optimizer step.

Single steps, so that backends can be compared after each, and can be given one another's state
before each. Only the rows that these steps read are kept, so that data of any size fits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from paribus import draws
from paribus.adapter import Array, Precision, Task
from paribus.architectures import Network
from paribus.batches import Schedule
from paribus.errors import SpecError
from paribus.native.inspection import Inspection
from paribus.native.natives import Natives
from paribus.native.network import NATIVE
from paribus.plan import EvalPlan, Integers, Targets, TrainPlan
from paribus.spec.sections import TRAINING_STEPS, Spec
from paribus.steps.examples import Examples, step_data
from paribus.steps.fitting import task_of
from paribus.steps.initial import initial_weights
from paribus.steps.prepare import prepare
from paribus.steps.reading import reading

# Rows of a forward pass that is compared: enough for BatchNorm, few enough to send every value.
PROBE_ROWS = 16


@dataclass(frozen=True)
class Subject:
    """One training, as arrays.

    Attributes:
        network: what is trained; of a model whose inside is unknown it has no nodes.
        task: what a session does with it.
        weights: canonical tensors that training starts from.
        x, y: the rows that the plans read, as ``Session.put`` takes them.
        plans: one optimizer step each.
        probe: one batch of the first step's rows, for forward passes.
        notes: what a reader has to know about the choice.
        inspections: of models of the user's own, what each backend says of its model.
    """

    network: Network
    task: Task
    weights: Mapping[str, Array]
    x: Array
    y: Array | None
    plans: tuple[TrainPlan, ...]
    probe: EvalPlan
    notes: tuple[str, ...] = ()
    inspections: Mapping[str, Inspection] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Number of optimizer steps."""
        return len(self.plans)

    def reordered(self) -> Subject | None:
        """Return the same training with the rows inside of every shard in another order.

        None where dropout's masks go by a row's place, which makes another order another training.
        Models of the user's own are compared without dropout.
        """
        own = self.network.architecture == NATIVE
        if not own and any(plan.noise is not None for plan in self.plans):
            return None
        plans = tuple(_reordered(plan, number) for number, plan in enumerate(self.plans))
        return replace(self, plans=plans)

    def rounded(self, precision: Precision) -> Subject:
        """Return the same with weights that ``precision`` holds exactly."""
        if precision == "float64":
            return self
        held = {n: a.astype(np.float32).astype(np.float64) for n, a in self.weights.items()}
        return replace(self, weights=held)


def subject_of(spec: Spec, step: str | None, steps: int, natives: Natives | None = None) -> Subject:
    """Return the first ``steps`` optimizer steps of a spec's training.

    Args:
        spec: the experiment.
        step: ``pretrain`` or ``finetune``; None for the last of them that the spec has.
        steps: at most; a shorter training ends earlier.
        natives: the spec's own models on the backends that are compared, where it has some.

    Raises:
        SpecError, DataError, WeightsError: as a run of the spec would.
    """
    if steps < 1:
        raise SpecError(f"steps = {steps}: at least one optimizer step is needed")
    if step is not None and step not in TRAINING_STEPS:
        raise SpecError(f"step = {step!r}; allowed: {', '.join(TRAINING_STEPS)}")
    trains = [name for name in spec.steps if name in TRAINING_STEPS]
    chosen = step or (trains[-1] if trains else "finetune")
    examples = Examples(spec, natives)
    prepare(spec, examples)
    recipe, view = spec.recipe(chosen), step_data(spec, chosen)
    dataset, rows = examples.dataset(view), examples.split(view).train
    network = examples.network(spec, chosen)
    freeze = spec.finetune.freeze if chosen == "finetune" else "none"
    # Masks of a framework's own generator are no two backends' the same; the plan's are.
    task = task_of(network, recipe, freeze, native_noise=False)
    inputs = reading(dataset, rows, view, recipe, spec.seed, chosen)
    schedule = Schedule(recipe, recipe.epochs, rows, spec.seed, chosen, inputs, len(network.noisy))
    initial = initial_weights(spec, chosen, network, None, natives)
    plans = _plans(schedule, steps)
    what = "models of your own" if spec.native is not None else network.architecture
    notes = [f"{chosen} of {what}, from weights: {initial.origin}"]
    if chosen == "finetune" and "pretrain" in spec.steps and spec.finetune.weights == "auto":
        notes.append("the pretrain step is not run first: equality does not depend on its weights")
    if len(plans) < steps:
        notes.append(f"the training has only {len(plans)} optimizer steps of the {steps} asked for")
    read = np.unique(np.concatenate([plan.indices.ravel() for plan in plans]))
    plans = [replace(p, indices=np.searchsorted(read, p.indices).astype(np.int64)) for p in plans]
    x, y = dataset.x[read], None if dataset.y is None else dataset.y[read]
    return Subject(
        network,
        task,
        initial.tensors,
        x,
        y,
        tuple(plans),
        probe(plans[0]),
        tuple(notes),
        {} if natives is None else natives.inspections(network.input_shape),
    )


def probe(plan: TrainPlan, most: int = PROBE_ROWS) -> EvalPlan:
    """Return the first real rows of a step as one batch of a forward pass."""
    shards = np.arange(plan.indices.shape[2]) < plan.counts[0][:, None]
    places = np.flatnonzero(shards.ravel())[:most]

    def chosen(array: Array) -> Array:
        return np.asarray(array[0].reshape(-1, *array.shape[3:])[places][None])

    targets = plan.targets
    if targets is not None:
        targets = Targets(**{name: chosen(array) for name, array in vars(targets).items()})
    counts = np.array([len(places)], dtype=np.int64)
    return EvalPlan(chosen(plan.indices), counts, plan.preprocess, targets)


def _plans(schedule: Schedule, steps: int) -> list[TrainPlan]:
    plans: list[TrainPlan] = []
    for number in range(schedule.epochs):
        epoch = schedule.epoch(number)
        for start in range(schedule.steps_per_epoch):
            if len(plans) == steps:
                return plans
            plans.append(epoch.plan(start, 1))
    return plans


def _reordered(plan: TrainPlan, number: int) -> TrainPlan:
    order = _orders(plan.counts[0].tolist(), plan.indices.shape[2], number)

    def moved(array: Array) -> Array:
        return np.asarray(array[0][np.arange(len(order))[:, None], order][None])

    changed: dict[str, Any] = {"indices": moved(plan.indices), "weights": moved(plan.weights)}
    for name in ("augmentation", "targets"):
        part = getattr(plan, name)
        if part is not None:
            arrays = {key: moved(array) for key, array in vars(part).items()}
            changed[name] = type(part)(**arrays)
    return replace(plan, **changed)


def _orders(counts: Sequence[int], width: int, number: int) -> Integers:
    """Return [S, b]: a drawn order of each shard's real rows; its padding stays behind."""
    orders = np.tile(np.arange(width, dtype=np.int64), (len(counts), 1))
    for shard, count in enumerate(counts):
        orders[shard, :count] = draws.permutation(number, f"verify/{shard}", 0, count)
    return orders
