"""Fine-tuning: the task's data, a new head on a given body, frozen as far as the spec says."""

from __future__ import annotations

from paribus.steps.examples import step_data
from paribus.steps.experiment import Experiment
from paribus.steps.fitting import Job, fit, summary
from paribus.steps.pretrain import body_for


def finetune(experiment: Experiment) -> None:
    """Run the step on the training rows, keeping weights by the validation rows."""
    spec = experiment.spec
    split = experiment.examples.split(step_data(spec, "finetune"))
    job = Job(
        spec,
        "finetune",
        split.train,
        split.validation,
        labels={"step": "finetune"},
        stream="finetune",
        body=body_for(experiment, spec, "finetune"),
        lasting=True,
    )
    fitted = fit(experiment, job)
    experiment.model = fitted.model
    experiment.results["finetune"] = summary(fitted)
