"""Pretraining: a whole network on the large data, from drawn or given weights."""

from __future__ import annotations

from typing import Any

from paribus.spec.sections import Spec
from paribus.steps.examples import step_data
from paribus.steps.experiment import Experiment, Model
from paribus.steps.fitting import Fitted, Job, fit, summary


def pretrain(experiment: Experiment) -> None:
    """Run the step: train the spec's model and keep the weights for the steps after."""
    fitted = _train(experiment, experiment.spec, {"step": "pretrain"})
    experiment.pretrains = True
    experiment.model = fitted.model
    held = experiment.examples.held_out(step_data(experiment.spec, "pretrain"))
    experiment.results["pretrain"] = summary(fitted) | {"held_out_examples": held}


def body_for(experiment: Experiment, spec: Spec, step: str) -> Model | None:
    """Return the pretrained model that a training by ``spec`` starts from; None where none is.

    There is one for ``finetune.weights = "auto"`` once the pretrain step has run. It is trained
    where it is first needed: a candidate of another architecture is pretrained by the same recipe
    on the same data, so that candidates are compared with other things equal.
    """
    if step != "finetune" or spec.finetune.weights != "auto" or not experiment.pretrains:
        return None
    key = _key(spec)
    if key not in experiment.pretrained:
        labels: dict[str, Any] = {
            "step": "pretrain",
            "model": spec.model.architecture,
            # Two variants of one architecture are told apart by their order, equal everywhere.
            "variant": len(experiment.pretrained),
        }
        experiment.progress.note(
            f"pretraining {spec.model.architecture}, which no earlier step has"
        )
        _train(experiment, spec, labels)
    return experiment.pretrained[key]


def _train(experiment: Experiment, spec: Spec, labels: dict[str, Any]) -> Fitted:
    split = experiment.examples.split(step_data(spec, "pretrain"))
    job = Job(
        spec,
        "pretrain",
        split.train,
        split.validation,
        labels=labels,
        stream="pretrain",
        lasting=True,
    )
    fitted = fit(experiment, job)
    experiment.pretrained[_key(spec)] = fitted.model
    return fitted


def _key(spec: Spec) -> str:
    data = step_data(spec, "pretrain")
    sections = (spec.model, spec.pretrain, data.section)
    return "".join(section.model_dump_json() for section in sections)
