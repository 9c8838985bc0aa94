"""One training of one spec on given rows: what every step is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paribus import weights
from paribus.adapter import Session, Task
from paribus.architectures import Network
from paribus.batches import Schedule
from paribus.data import Dataset
from paribus.errors import OutOfMemory
from paribus.features.opening import Work, opened
from paribus.feeding import Supply
from paribus.judging import Judge
from paribus.learner import Learner
from paribus.loop import Trained
from paribus.machine import Machine
from paribus.plan import Integers
from paribus.runstate.records import Identity
from paribus.spec.sections import Spec
from paribus.spec.training import Recipe
from paribus.stepping import AfterEpoch, Training, silent
from paribus.steps.examples import View, step_data
from paribus.steps.experiment import Experiment, Model
from paribus.steps.identity import identity_of
from paribus.steps.initial import Initial, initial_weights
from paribus.steps.judged import rows_that_fit
from paribus.steps.reading import reading
from paribus.steps.shards import that_fits


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
        norms=recipe.on_nonfinite == "skip",
        label_smoothing=recipe.label_smoothing,
        native_noise=native_noise,
    )


@dataclass(frozen=True)
class Job:
    """A training that a step wants: ``spec``'s model by the recipe of ``step``.

    Attributes:
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

    spec: Spec
    step: str
    train_rows: Integers
    validation_rows: Integers
    labels: Mapping[str, Any]
    stream: str
    body: Model | None = None
    epochs: int | None = None
    after_epoch: AfterEpoch = silent
    metrics: Sequence[str] = ()
    lasting: bool = False

    @property
    def recipe(self) -> Recipe:
        """How it learns."""
        return self.spec.recipe(self.step)

    @property
    def view(self) -> View:
        """What it learns from."""
        return step_data(self.spec, self.step)


@dataclass(frozen=True)
class Prepared:
    """A job with everything but a session."""

    job: Job
    dataset: Dataset
    network: Network
    task: Task
    schedule: Schedule
    judge: Judge
    initial: Initial
    identity: Identity

    def fitted(self, trained: Trained) -> Fitted:
        """Return the outcome."""
        model = Model(self.network, trained.weights, self.job.view, self.judge)
        return Fitted(trained, model, self.initial.origin)


def outline(experiment: Experiment, job: Job) -> tuple[Dataset, Network, Task]:
    """Return what a job is about, without drawing or reading anything for it."""
    network = experiment.examples.network(job.spec, job.step)
    freeze = job.spec.finetune.freeze if job.step == "finetune" else "none"
    task = task_of(network, job.recipe, freeze, job.spec.dropout_masks == "native")
    return experiment.examples.dataset(job.view), network, task


def prepare(experiment: Experiment, job: Job) -> Prepared:
    """Return a job with its steps, its judge and the weights that it starts from."""
    spec, recipe = job.spec, job.recipe
    dataset, network, task = outline(experiment, job)
    inputs = reading(dataset, job.train_rows, job.view, recipe, spec.seed, job.stream)
    judge = Judge(
        inputs,
        dataset.y,
        network.classes,
        tuple(dict.fromkeys((recipe.monitor, *recipe.metrics, *job.metrics))),
        recipe.label_smoothing,
    )
    natives = None if spec.native is None else experiment.examples.natives
    body = None if job.body is None else job.body.weights
    initial = initial_weights(spec, job.step, network, body, natives, experiment.weights)
    schedule = Schedule(
        recipe,
        job.epochs or recipe.epochs,
        job.train_rows,
        spec.seed,
        job.stream,
        inputs,
        len(network.noisy),
    )
    identity = identity_of(
        job.labels, dataset, job.validation_rows, schedule, judge, network, task, initial
    )
    return Prepared(job, dataset, network, task, schedule, judge, initial, identity)


def fit(experiment: Experiment, job: Job) -> Fitted:
    """Make one training.

    What an earlier leg of the run has finished is told again, not trained again.

    Raises:
        NonFiniteLoss: it diverged.
    """
    experiment.keeper.expect([job.labels])
    return fit_alone(experiment, job)


def fit_alone(experiment: Experiment, job: Job) -> Fitted:
    """Make one of the trainings that the keeper expects, in a session of its own."""
    ready = prepare(experiment, job)
    shapes = weights.shapes(ready.network) if job.lasting else None
    keeper = experiment.keeper
    trained = keeper.recall(ready.identity, job.after_epoch, ready.judge.metrics, shapes)
    if trained is None:
        try:
            session, feed = opened(experiment, work_of(experiment, ready))
            work = training_of(experiment, ready, session, feed)
            about = weights.described(ready.network)
            trained = keeper.train(ready.identity, work, lasting=job.lasting, about=about)
        except OutOfMemory as error:
            machine = experiment.machine
            if not machine.thrift.alone:
                raise
            if error.judging:
                raise _judged(ready, machine, error) from error
            raise that_fits(
                machine, ready.network, ready.task, ready.dataset, ready.schedule, error, job.step
            ) from error
        experiment.say_choices()
    return ready.fitted(trained)


def _judged(ready: Prepared, machine: Machine, error: OutOfMemory) -> OutOfMemory:
    def opened() -> Session:
        session = machine.apart(ready.network, ready.task)
        session.import_weights(ready.initial.tensors)
        return session

    rows = ready.job.validation_rows
    return rows_that_fit(machine, opened, ready.dataset, ready.judge, rows, error)


def work_of(experiment: Experiment, ready: Prepared) -> Work:
    """Return what decides whether a job's frozen body is computed once."""
    rows = experiment.examples.development(ready.job.view)
    return Work(
        ready.network, ready.task, ready.dataset, rows, ready.schedule, ready.initial.tensors
    )


def training_of(
    experiment: Experiment, ready: Prepared, session: Learner, feed: Supply
) -> Training:
    """Return the training of a job in a session that has the initial weights."""
    job = ready.job
    if ready.initial.origin != "drawn":
        what = "the model" if job.spec.native is not None else ready.network.architecture
        experiment.say_once(f"{what} starts from {ready.initial.origin}")
    return Training(
        session,
        ready.schedule,
        feed,
        job.validation_rows,
        ready.judge,
        job.labels,
        experiment.record,
        experiment.progress,
        job.after_epoch,
        pace=experiment.machine.thrift.pace(),
    )


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
        **({"skipped_steps": trained.skipped} if trained.skipped else {}),
        "parameters": fitted.model.network.parameter_count,
        "seconds": trained.seconds,
        "compile_seconds": trained.compile_seconds,
        "images_per_second": trained.images_per_second,
        "weights_hash": fitted.model.fingerprint,
    }
