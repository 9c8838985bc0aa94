"""Hyperparameter search: the same trials in the same order on every backend.

Optuna proposes; everything that it draws comes from core's seed. Random and grid search propose
the same trials whatever the results. TPE ranks earlier results, so its proposals agree between
backends as long as the backends rank the trials alike: always in float64, and in float32 unless
two trials are closer than float32 noise.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from paribus import draws
from paribus.errors import NonFiniteLoss, RunError
from paribus.measures import larger_is_better
from paribus.metrics import Evaluation
from paribus.plan import Integers
from paribus.spec import assign
from paribus.spec.sections import Optimize, Range, Spec
from paribus.stepping import AfterEpoch, silent
from paribus.steps.examples import step_data
from paribus.steps.experiment import Experiment
from paribus.steps.fitting import fit
from paribus.steps.pretrain import body_for

if TYPE_CHECKING:
    import optuna


def optimize(experiment: Experiment) -> None:
    """Run the step: try the search space, and apply the best trial's values to the spec."""
    section = experiment.spec.optimize
    assert section is not None  # the spec's validation has seen to it
    study = _study(section, experiment.spec.seed)
    trials: list[dict[str, Any]] = []
    for _ in range(_count(section, study)):
        trial = study.ask()
        trials.append(_run(experiment, section, study, trial))
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


def _run(
    experiment: Experiment, section: Optimize, study: optuna.Study, trial: optuna.trial.Trial
) -> dict[str, Any]:
    import optuna

    began = experiment.seconds()
    params = {key: _suggest(trial, key, space, section) for key, space in section.search.items()}
    spec = assign(experiment.spec, params)
    row: dict[str, Any] = {"number": trial.number, "params": params}
    try:
        value, epochs = _Trial(experiment, section, spec, trial).run()
    except NonFiniteLoss as error:
        experiment.progress.note(str(error))
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        row |= {"value": None, "state": "diverged"}
    except optuna.TrialPruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        row |= {"value": None, "state": "pruned"}
    else:
        study.tell(trial, value)
        row |= {"value": value, "state": "complete", "epochs": epochs}
    shown = "" if row["value"] is None else f" {section.metric} {row['value']:.4f}"
    experiment.progress.note(
        f"optimize trial {trial.number}: {row['state']}{shown} {json.dumps(params)}"
    )
    return row | {"seconds": experiment.seconds() - began}


class _Trial:
    """One trial: its trainings, and what it tells the pruner."""

    def __init__(
        self, experiment: Experiment, section: Optimize, spec: Spec, trial: optuna.trial.Trial
    ) -> None:
        self.experiment, self.section, self.spec, self.trial = experiment, section, spec, trial

    def run(self) -> tuple[float, int]:
        """Return the value and the epochs that it took.

        Raises:
            optuna.TrialPruned, NonFiniteLoss.
        """
        examples, section = self.experiment.examples, self.section
        data = step_data(self.spec, section.step)
        folds = examples.search_folds(data, section)
        if not folds:
            split = examples.split(data)
            return self._fit(split.train, split.validation, {}, self._after_epoch)
        values, epochs = [], 0
        for number, fold in enumerate(folds):
            value, ran = self._fit(fold.train, fold.validation, {"fold": number}, silent)
            values.append(value)
            epochs += ran
            if number + 1 < len(folds):
                self._report(sum(values) / len(values), number + 1)
        return sum(values) / len(values), epochs

    def _fit(
        self,
        train: Integers,
        validation: Integers,
        fold: dict[str, int],
        after: AfterEpoch,
    ) -> tuple[float, int]:
        labels = {"step": "optimize", "trial": self.trial.number, **fold}
        trained = fit(
            self.experiment,
            self.spec,
            self.section.step,
            train,
            validation,
            labels=labels,
            stream="/".join(("optimize", *map(str, fold.values()))),
            body=body_for(self.experiment, self.spec, self.section.step),
            epochs=self.section.epochs,
            after_epoch=after,
            metrics=(self.section.metric,),
        ).trained
        return self._value(trained.validation), trained.epochs

    def _value(self, validation: Evaluation | None) -> float:
        metric = self.section.metric
        value = None if validation is None else validation.metric(metric)
        if value is None:
            raise RunError(
                f"optimize.metric = {metric!r} is not defined on these validation rows (a class is "
                "absent); use more of them, or another metric"
            )
        return value

    def _after_epoch(self, epoch: int, validation: Evaluation | None) -> bool:
        total = self.section.epochs or self.spec.recipe(self.section.step).epochs
        if epoch < total:
            self._report(self._value(validation), epoch)
        return False

    def _report(self, value: float, resource: int) -> None:
        import optuna

        self.trial.report(value, resource)
        if self.trial.should_prune():
            raise optuna.TrialPruned


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
