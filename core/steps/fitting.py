"""One training of one spec on given rows: what every step is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paribus import weights
from paribus.adapter import Task
from paribus.architectures import Network
from paribus.batches import Schedule
from paribus.judging import Judge
from paribus.loop import Trained, train
from paribus.plan import Integers
from paribus.spec.sections import Spec
from paribus.spec.training import Recipe
from paribus.stepping import AfterEpoch, Training
from paribus.steps.examples import step_data
from paribus.steps.experiment import Experiment, Model
from paribus.steps.initial import initial_weights
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
    after_epoch: AfterEpoch | None = None,
    metrics: Sequence[str] = (),
) -> Fitted:
    """Train ``spec``'s model by the recipe of ``step`` on ``train_rows``.

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
    initial = initial_weights(spec, step, network, None if body is None else body.weights)
    session = experiment.machine.session(network, task)
    session.import_weights(initial.tensors)
    schedule = Schedule(
        recipe, epochs or recipe.epochs, train_rows, spec.seed, stream, inputs, len(network.noisy)
    )
    work = Training(
        session,
        schedule,
        experiment.machine.feed(session, dataset),
        validation_rows,
        judge,
        labels,
        experiment.record,
        experiment.progress,
    )
    if after_epoch is not None:
        work.after_epoch = after_epoch
    if initial.origin != "drawn":
        experiment.say_once(f"{network.architecture} starts from {initial.origin}")
    trained = train(work)
    return Fitted(trained, Model(network, trained.weights, view, judge), initial.origin)


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
