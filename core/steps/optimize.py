"""Hyperparameter search: the same trials in the same order on every backend.

Optuna proposes; everything that it draws comes from core's seed. Random and grid search propose
the same trials whatever the results. TPE ranks earlier results, so its proposals agree between
backends as long as the backends rank the trials alike: always in float64, and in float32 unless
two trials are closer than float32 noise.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from paribus import draws
from paribus.errors import NonFiniteLoss, RunError
from paribus.measures import larger_is_better
from paribus.metrics import Evaluation
from paribus.plan import Integers
from paribus.spec import assign
from paribus.spec.sections import Optimize, Range
from paribus.steps.batching import Outcome, fit_many
from paribus.steps.examples import step_data
from paribus.steps.experiment import Experiment, Model
from paribus.steps.fitting import Job, fit
from paribus.steps.pretrain import body_for

if TYPE_CHECKING:
    import optuna


def optimize(experiment: Experiment) -> None:
    """Run the step: try the search space, and apply the best trial's values to the spec."""
    section = experiment.spec.optimize
    assert section is not None  # the spec's validation has seen to it
    study = _study(section, experiment.spec.seed)
    trials: list[dict[str, Any]] = []
    count = _count(section, study)
    if section.pruner != "none":
        for _ in range(count):
            trials.append(_watched(experiment, section, study, study.ask()))
    elif section.sampler == "tpe":
        # It proposes by the results so far.
        for _ in range(count):
            trials += _judged(experiment, section, study, [study.ask()])
    else:
        trials = _judged(experiment, section, study, [study.ask() for _ in range(count)])
    complete = [trial for trial in trials if trial["state"] == "complete"]
    if not complete:
        raise RunError(
            f"optimize: none of {len(trials)} trials came to an end with a finite loss; narrow "
            "the learning rate's range in optimize.search"
        )
    sign = -1.0 if larger_is_better(section.metric) else 1.0
    best = min(complete, key=lambda trial: (sign * trial["value"], trial["number"]))
    experiment.results["optimize"] = {
        "best": {key: best[key] for key in ("number", "params", "value")},
        "metric": section.metric,
        "sampler": section.sampler,
        "pruner": section.pruner,
        "trials": trials,
    }
    experiment.spec = assign(experiment.spec, best["params"])


def _judged(
    experiment: Experiment,
    section: Optimize,
    study: optuna.Study,
    asked: Sequence[optuna.trial.Trial],
) -> list[dict[str, Any]]:
    """Train trials that nobody ends early, all of their trainings at once where that is faster."""
    trials = [_Trial(experiment, section, trial) for trial in asked]
    lengths = [len(trial.jobs) for trial in trials]
    jobs = [job for trial in trials for job in trial.jobs]
    with closing(fit_many(experiment, jobs)) as outcomes:
        return [
            _told(experiment, section, study, trial, list(islice(outcomes, length)))
            for trial, length in zip(trials, lengths, strict=True)
        ]


def _told(
    experiment: Experiment,
    section: Optimize,
    study: optuna.Study,
    trial: _Trial,
    outcomes: Sequence[Outcome],
) -> dict[str, Any]:
    """Tell the study what became of a trial, and return its row."""
    import optuna

    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    seconds = sum(outcome.seconds for outcome in outcomes)
    if errors:
        experiment.progress.note(str(errors[0]))
        study.tell(trial.trial, state=optuna.trial.TrialState.FAIL)
        return trial.row(value=None, state="diverged", seconds=seconds)
    trained = [outcome.fitted.trained for outcome in outcomes if outcome.fitted is not None]
    values = [_value(section, one.validation) for one in trained]
    value = sum(values) / len(values)
    study.tell(trial.trial, value)
    epochs = sum(one.epochs for one in trained)
    return trial.row(value=value, state="complete", epochs=epochs, seconds=seconds)


def _watched(
    experiment: Experiment, section: Optimize, study: optuna.Study, asked: optuna.trial.Trial
) -> dict[str, Any]:
    """Train a trial that the pruner may end, one training after the other."""
    import optuna

    began = experiment.seconds()
    trial = _Trial(experiment, section, asked)
    values: list[float] = []
    epochs = 0
    found: dict[str, Any]
    try:
        for number, job in enumerate(trial.jobs):
            watched = job if trial.folds else replace(job, after_epoch=trial.after_epoch)
            trained = fit(experiment, watched).trained
            values.append(_value(section, trained.validation))
            epochs += trained.epochs
            if trial.folds and number + 1 < len(trial.jobs):
                trial.report(sum(values) / len(values), number + 1)
    except NonFiniteLoss as error:
        experiment.progress.note(str(error))
        study.tell(asked, state=optuna.trial.TrialState.FAIL)
        found = {"value": None, "state": "diverged"}
    except optuna.TrialPruned:
        study.tell(asked, state=optuna.trial.TrialState.PRUNED)
        found = {"value": None, "state": "pruned"}
    else:
        value = sum(values) / len(values)
        study.tell(asked, value)
        found = {"value": value, "state": "complete", "epochs": epochs}
    return trial.row(**found, seconds=experiment.seconds() - began)


class _Trial:
    """One trial: its values, its trainings, and what it tells the pruner."""

    def __init__(
        self, experiment: Experiment, section: Optimize, trial: optuna.trial.Trial
    ) -> None:
        self.experiment, self.section, self.trial = experiment, section, trial
        self.params = {
            key: _suggest(trial, key, space, section) for key, space in section.search.items()
        }
        self.spec = assign(experiment.spec, self.params)
        data = step_data(self.spec, section.step)
        self.folds = experiment.examples.search_folds(data, section)
        parts = [(f.train, f.validation, {"fold": n}) for n, f in enumerate(self.folds)]
        if not parts:
            split = experiment.examples.split(data)
            parts = [(split.train, split.validation, {})]
        body = body_for(experiment, self.spec, section.step)
        self.jobs = [self._job(*part, body) for part in parts]

    def _job(
        self, train: Integers, validation: Integers, fold: dict[str, int], body: Model | None
    ) -> Job:
        return Job(
            self.spec,
            self.section.step,
            train,
            validation,
            labels={"step": "optimize", "trial": self.trial.number, **fold},
            stream="/".join(("optimize", *map(str, fold.values()))),
            body=body,
            epochs=self.section.epochs,
            metrics=(self.section.metric,),
        )

    def row(self, **found: Any) -> dict[str, Any]:
        """Return what ``result.json`` says of the trial, and say it."""
        value, number = found["value"], self.trial.number
        shown = "" if value is None else f" {self.section.metric} {value:.4f}"
        self.experiment.progress.note(
            f"optimize trial {number}: {found['state']}{shown} {json.dumps(self.params)}"
        )
        return {"number": number, "params": self.params, **found}

    def after_epoch(self, epoch: int, validation: Evaluation | None) -> bool:
        """Report an epoch."""
        total = self.section.epochs or self.spec.recipe(self.section.step).epochs
        if epoch < total:
            self.report(_value(self.section, validation), epoch)
        return False

    def report(self, value: float, resource: int) -> None:
        """Report a value.

        Raises:
            optuna.TrialPruned: the pruner ends the trial.
        """
        import optuna

        self.trial.report(value, resource)
        if self.trial.should_prune():
            raise optuna.TrialPruned


def _value(section: Optimize, validation: Evaluation | None) -> float:
    value = None if validation is None else validation.metric(section.metric)
    if value is None:
        raise RunError(
            f"optimize.metric = {section.metric!r} is not defined on these validation rows (a "
            "class is absent); use more of them, or another metric"
        )
    return value


def _study(section: Optimize, seed: int) -> optuna.Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    number = int(draws.words(seed, "optimize", 0, 1)[0] >> 33)
    sampler = (
        optuna.samplers.TPESampler(seed=number)
        if section.sampler == "tpe"
        else optuna.samplers.RandomSampler(seed=number)
    )
    pruners: Mapping[str, Any] = {
        "none": optuna.pruners.NopPruner,
        "median": optuna.pruners.MedianPruner,
        "successive-halving": optuna.pruners.SuccessiveHalvingPruner,
    }
    direction = "maximize" if larger_is_better(section.metric) else "minimize"
    study = optuna.create_study(
        sampler=sampler, pruner=pruners[section.pruner](), direction=direction
    )
    if section.sampler == "grid":
        axes = [[_token(v) for v in _points(space)] for space in section.search.values()]
        for point in itertools.product(*axes):
            study.enqueue_trial(dict(zip(section.search, point, strict=True)))
    return study


def _count(section: Optimize, study: optuna.Study) -> int:
    """Return the number of trials; a grid has no more than its points."""
    return len(study.get_trials(deepcopy=False)) if section.sampler == "grid" else section.trials


def _suggest(
    trial: optuna.trial.Trial, key: str, space: Range | list[Any], section: Optimize
) -> Any:
    if section.sampler == "grid" or not isinstance(space, Range):
        tokens = [_token(value) for value in _points(space)]
        return json.loads(trial.suggest_categorical(key, tokens))
    if space.whole:
        step = int(space.step or 1)
        return trial.suggest_int(key, int(space.low), int(space.high), step=step, log=space.log)
    return trial.suggest_float(key, space.low, space.high, step=space.step, log=space.log)


def _points(space: Range | list[Any]) -> list[Any]:
    return space.points() if isinstance(space, Range) else space


def _token(value: Any) -> str:
    """Return JSON text: Optuna's choices are plain values, ours may be tables."""
    return json.dumps(value, sort_keys=True)
