"""One training of one spec on given rows: what every step is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from paribus import weights
from paribus.adapter import Task
from paribus.architectures import Network
from paribus.batches import Schedule
from paribus.data import Dataset
from paribus.features.keys import content
from paribus.features.opening import Work, opened
from paribus.judging import Judge
from paribus.loop import Trained
from paribus.native.network import NATIVE
from paribus.plan import Integers
from paribus.runstate.records import Identity
from paribus.spec.sections import Spec
from paribus.spec.training import Recipe
from paribus.stepping import AfterEpoch, Training, silent
from paribus.steps.examples import step_data
from paribus.steps.experiment import Experiment, Model
from paribus.steps.initial import Initial, initial_weights
from paribus.steps.reading import reading


@dataclass(frozen=True)
class Fitted:
    """A training's outcome, the model that it left, and where its weights came from."""

    trained: Trained
    model: Model
    origin: str


def task_of(network: Network, recipe: Recipe, freeze: str, native_noise: bool) -> Task:
    """Return what a session has to do for a recipe."""
    trainable = network.trainable(freeze)
    optimizer = recipe.optimizer
    decayed = (
        tuple(
            name
            for name in trainable
            if optimizer.decay == "all" or network.tensors[name].role == "weight"
        )
        if optimizer.weight_decay > 0
        else ()
    )
    return Task(
        optimizer.rule,
        trainable,
        decayed,
        clips=recipe.clip_norm is not None,
        label_smoothing=recipe.label_smoothing,
        native_noise=native_noise,
    )


def fit(
    experiment: Experiment,
    spec: Spec,
    step: str,
    train_rows: Integers,
    validation_rows: Integers,
    *,
    labels: Mapping[str, Any],
    stream: str,
    body: Model | None = None,
    epochs: int | None = None,
    after_epoch: AfterEpoch = silent,
    metrics: Sequence[str] = (),
    lasting: bool = False,
) -> Fitted:
    """Train ``spec``'s model by the recipe of ``step`` on ``train_rows``.

    What an earlier leg of the run has finished is told again, not trained again.

    Args:
        experiment: shared state.
        spec: the experiment's spec, or a candidate's or trial's variant of it.
        step: ``pretrain`` or ``finetune``: whose recipe, data and initial weights.
        train_rows, validation_rows: int64 rows of the step's dataset.
        labels: go into every recorded row.
        stream: what the order of rows is drawn from; equal streams see equal batches.
        body: the pretrained model that ``finetune.weights = "auto"`` means, where there is one.
        epochs: instead of the recipe's.
        after_epoch: told each epoch's validation; True stops.
        metrics: to judge by, besides the recipe's.
        lasting: whether the model is used after this; the weights of one that is not may be
            empty when its training is told again.
    """
    recipe, view = spec.recipe(step), step_data(spec, step)
    dataset = experiment.examples.dataset(view)
    network = experiment.examples.network(spec, step)
    freeze = spec.finetune.freeze if step == "finetune" else "none"
    task = task_of(network, recipe, freeze, spec.dropout_masks == "native")
    inputs = reading(dataset, train_rows, view, recipe, spec.seed, stream)
    judge = Judge(
        inputs,
        dataset.y,
        network.classes,
        tuple(dict.fromkeys((recipe.monitor, *recipe.metrics, *metrics))),
        recipe.label_smoothing,
    )
    natives = None if spec.native is None else experiment.examples.natives
    given = None if body is None else body.weights
    initial = initial_weights(spec, step, network, given, natives, experiment.weights)
    schedule = Schedule(
        recipe, epochs or recipe.epochs, train_rows, spec.seed, stream, inputs, len(network.noisy)
    )
    identity = _identity(labels, dataset, validation_rows, schedule, judge, network, task, initial)
    shapes = weights.shapes(network) if lasting else None
    trained = experiment.keeper.recall(identity, after_epoch, judge.metrics, shapes)
    if trained is None:
        rows = experiment.examples.development(view)
        session, feed = opened(
            experiment, Work(network, task, dataset, rows, schedule, initial.tensors)
        )
        work = Training(
            session,
            schedule,
            feed,
            validation_rows,
            judge,
            labels,
            experiment.record,
            experiment.progress,
            after_epoch,
        )
        if initial.origin != "drawn":
            what = "the model" if spec.native is not None else network.architecture
            experiment.say_once(f"{what} starts from {initial.origin}")
        trained = experiment.keeper.train(identity, work, lasting=lasting)
    return Fitted(trained, Model(network, trained.weights, view, judge), initial.origin)


def _identity(
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


def summary(fitted: Fitted) -> dict[str, Any]:
    """Return what ``result.json`` says of a training."""
    trained = fitted.trained
    validation = None if trained.validation is None else trained.validation.as_dict()
    return {
        "initial_weights": fitted.origin,
        "epochs": trained.epochs,
        "kept_epoch": trained.kept_epoch,
        "stopped_early": trained.stopped,
        "optimizer_steps": trained.optimizer_steps,
        "train": {"loss": trained.train_loss},
        "validation": validation,
        "parameters": fitted.model.network.parameter_count,
        "seconds": trained.seconds,
        "compile_seconds": trained.compile_seconds,
        "images_per_second": trained.images_per_second,
        "weights_hash": weights.fingerprint(fitted.model.weights),
    }
