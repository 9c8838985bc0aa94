"""Model selection: every candidate on the same folds, and a stated rule that picks one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

from paribus import weights
from paribus.data import Fold
from paribus.errors import RunError
from paribus.measures import larger_is_better
from paribus.metrics import mean_and_standard_error
from paribus.spec import variant
from paribus.spec.sections import Candidate, Select, Spec
from paribus.steps.batching import Outcome, fit_many
from paribus.steps.examples import step_data
from paribus.steps.experiment import Experiment
from paribus.steps.fitting import Job
from paribus.steps.pretrain import body_for


@dataclass(frozen=True)
class Score:
    """A candidate's result; ``mean`` is None where a fold diverged.

    Attributes:
        folds: JSON values of each fold.
        standard_error: s/√n over the folds; None with a single one.
        parameters: trainable scalars of the whole network.
        seconds: wall time of all folds, pretraining included where it was needed.
    """

    name: str
    folds: list[dict[str, Any]]
    mean: float | None
    standard_error: float | None
    parameters: int
    seconds: float


def select(experiment: Experiment) -> None:
    """Run the step: cross-validate the candidates, choose one and apply its patch to the spec."""
    section = experiment.spec.select
    assert section is not None  # the spec's validation has seen to it
    data = step_data(experiment.spec, section.step)
    folds = experiment.examples.selection_folds(data, section)
    variants = [
        variant(experiment.spec, candidate.patch, candidate.name)
        for candidate in section.candidates
    ]
    scores = _scores(experiment, section, variants, folds)
    chosen = choose(scores, section.metric, section.rule)
    experiment.results["select"] = {
        "chosen": scores[chosen].name,
        "rule": section.rule,
        "metric": section.metric,
        "scheme": section.scheme,
        "candidates": [vars(score) for score in scores],
    }
    experiment.spec = variants[chosen]


def choose(scores: Sequence[Score], metric: str, rule: str) -> int:
    """Return the index of the chosen score.

    ``best``: the best mean. ``one-standard-error`` (Breiman et al. 1984): the fewest parameters
    among those whose mean is within one standard error of the best one's, that standard error
    being the best one's. Ties go to the better mean, then to the earlier candidate.

    Raises:
        RunError: every candidate diverged.
    """
    means = {i: score.mean for i, score in enumerate(scores) if score.mean is not None}
    if not means:
        raise RunError(
            "select: the loss of every candidate became infinite or NaN"
            + ("" if metric == "loss" else f", or its {metric} is not defined on a fold")
            + "; lower the learning rate"
        )
    sign = -1.0 if larger_is_better(metric) else 1.0
    best = min(means, key=lambda i: (sign * means[i], i))
    if rule == "best":
        return best
    limit = sign * means[best] + (scores[best].standard_error or 0.0)
    within = [i for i, mean in means.items() if sign * mean <= limit]
    return min(within, key=lambda i: (scores[i].parameters, sign * means[i], i))


def without_mean(folds: Sequence[Mapping[str, Any]]) -> str:
    """Return why a candidate has no mean."""
    return "diverged" if any(fold.get("diverged") for fold in folds) else "undefined"


def _scores(
    experiment: Experiment, section: Select, variants: Sequence[Spec], folds: Sequence[Fold]
) -> list[Score]:
    # Bodies first, whatever is trained together later: their order numbers them.
    bodies, seconds = [], []
    for spec in variants:
        began = experiment.seconds()
        bodies.append(body_for(experiment, spec, section.step))
        seconds.append(experiment.seconds() - began)
    jobs = [
        Job(
            spec,
            section.step,
            fold.train,
            fold.validation,
            labels={
                "step": "select",
                "candidate": candidate.name,
                "repeat": fold.repeat,
                "fold": fold.fold,
            },
            stream=f"select/{fold.repeat}/{fold.fold}",
            body=body,
            epochs=section.epochs,
            metrics=(section.metric,),
        )
        for candidate, spec, body in zip(section.candidates, variants, bodies, strict=True)
        for fold in folds
    ]
    with closing(fit_many(experiment, jobs)) as outcomes:
        return [
            _score(experiment, section, candidate, spec, folds, islice(outcomes, len(folds)), took)
            for candidate, spec, took in zip(section.candidates, variants, seconds, strict=True)
        ]


def _score(
    experiment: Experiment,
    section: Select,
    candidate: Candidate,
    spec: Spec,
    folds: Sequence[Fold],
    outcomes: Iterable[Outcome],
    seconds: float,
) -> Score:
    """Return a candidate's score from the outcomes of its folds; ``seconds`` its body took."""
    found: list[dict[str, Any]] = []
    values: list[float] = []
    for fold, outcome in zip(folds, outcomes, strict=True):
        row: dict[str, Any] = {
            "repeat": fold.repeat,
            "fold": fold.fold,
            "train_examples": len(fold.train),
            "validation_examples": len(fold.validation),
            "rows": weights.fingerprint({"train": fold.train, "validation": fold.validation}),
        }
        if outcome.fitted is None:
            experiment.progress.note(str(outcome.error))
            row |= {"loss": None, "diverged": True}
        else:
            trained = outcome.fitted.trained
            assert trained.validation is not None  # a fold always has validation rows
            value = trained.validation.metric(section.metric)
            values += [] if value is None else [value]
            found_here = trained.validation.as_dict() | {"epochs": trained.epochs}
            row |= {key: item for key, item in found_here.items() if key != "examples"}
        found.append(row | {"seconds": outcome.seconds})
        seconds += outcome.seconds
    whole = len(values) == len(folds)
    mean, error_of_mean = mean_and_standard_error(values) if whole else (None, None)
    parameters = experiment.examples.network(spec, section.step).parameter_count
    experiment.progress.note(
        f"select {candidate.name}: {section.metric} "
        + (without_mean(found) if mean is None else f"{mean:.4f} ± {error_of_mean or 0:.4f}")
    )
    return Score(candidate.name, found, mean, error_of_mean, parameters, seconds)


__all__ = ["Score", "choose", "select", "without_mean"]
