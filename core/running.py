"""One run: a spec, a backend and a folder in, a result out."""

from __future__ import annotations

import json
import platform
import resource
import sys
import time
from collections.abc import Callable
from importlib import metadata
from math import isfinite
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from paribus import registry, weights
from paribus.adapter import Backend
from paribus.errors import NonFiniteLoss, ParibusError, RunFolderError, SpecError
from paribus.feeding import Feed
from paribus.machine import Machine
from paribus.native.natives import Natives
from paribus.progress import Progress
from paribus.result import Result, open_model
from paribus.runfolder import PRETRAINED, SPEC, TOKENIZER, WEIGHTS, RunFolder
from paribus.runmodel import describe_model
from paribus.spec import absolute, dumps
from paribus.spec.paths import WORDS
from paribus.spec.sections import TRAINING_STEPS, Spec
from paribus.steps.examples import Examples
from paribus.steps.experiment import Experiment, Model
from paribus.steps.finetune import finetune
from paribus.steps.optimize import optimize
from paribus.steps.prepare import prepare
from paribus.steps.pretrain import pretrain
from paribus.steps.select import select

STEPS: dict[str, Callable[[Experiment], None]] = {
    "pretrain": pretrain,
    "select": select,
    "optimize": optimize,
    "finetune": finetune,
}


def run(
    spec: Spec,
    *,
    backend: str | None = None,
    device: str | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Run an experiment and return its result.

    Args:
        spec: from ``paribus.load``.
        backend: instead of the spec's.
        device: instead of the spec's: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        out: the run folder; by default the next free ``runs/NAME/BACKEND-N``.
        overwrite: replace the run that ``out`` holds.
        progress: what to say on the way; silent by default.

    Raises:
        SpecError, DataError, WeightsError: before any training, where they can be known.
        BackendError: the backend or device is not there, or cannot honour the spec.
        RunError: the run could not go on; the folder stays readable and says why.
    """
    descriptor = registry.choose(spec.backend if backend is None else backend)
    place = registry.resolve_device(descriptor, spec.device if device is None else device)
    spec = absolute(spec).model_copy(update={"backend": descriptor.name, "device": place})
    if out is not None and overwrite:
        _refuse_own_weights(spec, Path(out))
    # What can be known to fail fails now: before training, and before a folder is made or emptied.
    natives = None if spec.native is None else Natives(spec.native, [descriptor], spec.seed)
    examples = Examples(spec, natives)
    prepare(spec, examples)
    folder = (
        RunFolder.numbered(Path("runs") / spec.name, descriptor.name)
        if out is None
        else RunFolder.create(Path(out), overwrite=overwrite)
    )
    folder.write(SPEC, dumps(spec))
    result = _header(spec, descriptor)
    skipped = examples.skipped
    result["data"] = {
        "streamed": examples.streamed,
        "skipped": len(skipped),
        "skipped_files": skipped,
    }
    folder.write_result(result)
    began = time.perf_counter()
    try:
        with (
            progress or Progress() as shown,
            Machine(descriptor, place, spec.precision, spec.numerics) as machine,
        ):
            if skipped:
                shown.note(
                    f"data: {len(skipped)} file{'s' if len(skipped) > 1 else ''} could not be read "
                    f"and {'were' if len(skipped) > 1 else 'was'} left out, first {skipped[0]}"
                )
            experiment = Experiment(spec, examples, machine, folder.record, shown)
            result["steps"] = experiment.results
            _run_steps(experiment, folder, result)
            result["compile_seconds"] = machine.compile_seconds
    except BaseException as error:
        _tell(folder, result | _failure(error), began)
        raise
    finally:
        folder.close()
    _tell(folder, result | {"status": "complete"}, began)
    return Result(folder.path)


def _refuse_own_weights(spec: Spec, out: Path) -> None:
    """Refuse to replace a run by one that starts from its weights, before they are gone."""
    named = {f"{step}.weights": spec.recipe(step).weights for step in TRAINING_STEPS}
    for key, source in (named | {"checkpoint": spec.checkpoint or "drawn"}).items():
        given = Path(source).resolve()
        if source not in WORDS and out.resolve() in (given, given.parent):
            raise SpecError(
                f"{key} = {source!r} is in the run folder {out}, which --overwrite would empty "
                "first; choose another --out"
            )


def _run_steps(experiment: Experiment, folder: RunFolder, result: dict[str, Any]) -> None:
    spec = experiment.spec
    for step in spec.steps:
        STEPS[step](experiment)
        if step == "pretrain" and experiment.model is not None:
            _save(folder.path / PRETRAINED, experiment.model)
        folder.write_result(result)
    if experiment.model is not None:
        _save(folder.path / WEIGHTS, experiment.model)
        trained = [step for step in spec.steps if step in TRAINING_STEPS]
        examples = experiment.examples.dataset(experiment.model.data)
        result["model"] = {"step": trained[-1], **describe_model(experiment.model, examples)}
        if examples.tokens is not None:
            folder.write(TOKENIZER, examples.tokens.tokenizer)
        result["weights_hash"] = weights.fingerprint(experiment.model.weights)
        if spec.evaluate_test:
            result["test"] = test(experiment, experiment.model)


def test(experiment: Experiment, model: Model) -> dict[str, Any]:
    """Evaluate the final model on the test rows: the only place that reads them.

    Raises:
        NonFiniteLoss: the model diverged in a last step that nothing else has looked at.
    """
    rows = experiment.examples.split(model.data).test
    dataset = experiment.examples.dataset(model.data)
    with open_model(experiment.machine, model) as session:
        found = model.judge.evaluate(Feed(session, dataset.x, dataset.y), rows)
    if not isfinite(found.loss):
        raise NonFiniteLoss(
            f"test: the test loss is {found.loss}: the model has diverged. Lower the learning rate "
            "or set clip_norm"
        )
    experiment.record([{"step": "test", "split": "test", **found.as_dict()}])
    return found.as_dict()


def _save(path: Path, model: Model) -> None:
    network = model.network
    description = {
        "architecture": network.architecture,
        "parameters": dict(network.parameters),
        "input_shape": list(network.input_shape),
        "classes": network.classes,
        "objective": network.objective,
    }
    # One entry: several would be written in an order that changes from run to run.
    try:
        weights.save(path, model.weights, {"paribus": json.dumps(description, sort_keys=True)})
    except (OSError, SafetensorError) as error:
        raise RunFolderError(
            f"{path} cannot be written: {error}; make room, or choose another place with --out"
        ) from error


def _header(spec: Spec, backend: Backend) -> dict[str, Any]:
    return {
        "name": spec.name,
        "status": "running",
        "backend": backend.name,
        "device": spec.device,
        "precision": spec.precision,
        "numerics": spec.numerics,
        "seed": spec.seed,
        "versions": _versions(backend),
        "machine": f"{platform.system()} {platform.machine()}",
        "steps": {},
    }


def _versions(backend: Backend) -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in ("paribus", "numpy", "scikit-learn", "optuna", *backend.packages):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "unknown"
    return versions


def _failure(error: BaseException) -> dict[str, Any]:
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return {"status": "interrupted"}
    kind = type(error).__name__
    return {"status": "failed", "error": {"kind": kind, "message": str(error)}}


def _tell(folder: RunFolder, result: dict[str, Any], began: float) -> None:
    # ru_maxrss is in KiB on Linux and in bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    try:
        folder.write_result(
            result | {"seconds": time.perf_counter() - began, "peak_memory_bytes": peak}
        )
    except ParibusError:
        # The run's own error is on its way to the user; a folder that has gone must not hide it.
        if result["status"] == "complete":
            raise


__all__ = ["STEPS", "run", "test"]
