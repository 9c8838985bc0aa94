"""An experiment's steps, one after the other, and the test at their end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

from paribus import weights
from paribus.errors import NonFiniteLoss, OutOfMemory, RunFolderError
from paribus.feeding import Feed
from paribus.result import apart, open_model
from paribus.runfolder import PRETRAINED, TOKENIZER, WEIGHTS, RunFolder
from paribus.runmodel import describe_model
from paribus.spec.sections import TRAINING_STEPS
from paribus.steps.experiment import Experiment, Model
from paribus.steps.finetune import finetune
from paribus.steps.judged import rows_that_fit
from paribus.steps.optimize import optimize
from paribus.steps.pretrain import pretrain
from paribus.steps.select import select

STEPS: dict[str, Callable[[Experiment], None]] = {
    "pretrain": pretrain,
    "select": select,
    "optimize": optimize,
    "finetune": finetune,
}


def run_steps(experiment: Experiment, folder: RunFolder, result: dict[str, Any]) -> None:
    """Run all steps and the test, write the models, and note in ``result`` what came of them.

    Raises:
        RunError: a step could not go on.
        RunFolderError: a file cannot be written.
    """
    spec = experiment.spec
    for step in spec.steps:
        STEPS[step](experiment)
        if step == "pretrain" and experiment.model is not None:
            _save(folder.path / PRETRAINED, experiment.model)
        folder.write_progress(result)
    if experiment.model is not None:
        _save(folder.path / WEIGHTS, experiment.model)
        trained = [step for step in spec.steps if step in TRAINING_STEPS]
        examples = experiment.examples.dataset(experiment.model.data)
        result["model"] = {"step": trained[-1], **describe_model(experiment.model, examples)}
        if examples.tokens is not None:
            folder.write(TOKENIZER, examples.tokens.tokenizer)
        result["weights_hash"] = experiment.model.fingerprint
        if spec.evaluate_test:
            result["test"] = test(experiment, experiment.model)


def test(experiment: Experiment, model: Model) -> dict[str, Any]:
    """Evaluate the final model on the test rows: the only place that reads them.

    Raises:
        NonFiniteLoss: the model diverged in a last step that nothing else has looked at.
    """
    rows = experiment.examples.split(model.data).test
    dataset = experiment.examples.dataset(model.data)
    machine = experiment.machine
    if machine.thrift.alone:
        machine.close()
    try:
        with open_model(machine, model) as session:
            x = machine.thrift.examples(dataset.x)
            feed = Feed(session, x, dataset.y, machine.thrift.rows)
            found = model.judge.evaluate(feed, rows)
            experiment.say_choices()
            machine.forget(session)
    except OutOfMemory as error:
        if not (machine.thrift.alone and error.judging):
            raise
        opened = partial(apart, machine, model)
        raise rows_that_fit(machine, opened, dataset, model.judge, rows, error) from error
    if not isfinite(found.loss):
        raise NonFiniteLoss(
            f"test: the test loss is {found.loss}: the model has diverged. Lower the learning rate "
            "or set clip_norm"
        )
    experiment.record([{"step": "test", "split": "test", **found.as_dict()}])
    return found.as_dict()


def _save(path: Path, model: Model) -> None:
    try:
        weights.save(path, model.weights, weights.described(model.network))
    except OSError as error:
        raise RunFolderError(
            f"{path} cannot be written: {error.strerror or error}; make room, or choose another "
            "place with --out"
        ) from error
