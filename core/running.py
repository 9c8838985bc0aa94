"""One run: a spec, a backend and a folder in, a result out."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from paribus import registry, status, weights
from paribus.cachefolder import cache_folder
from paribus.errors import (
    DataError,
    NonFiniteLoss,
    OutOfMemory,
    ParibusError,
    RunFolderError,
    SpecError,
)
from paribus.feeding import Feed
from paribus.keeping import Stopped
from paribus.machine import Machine
from paribus.native.natives import Natives
from paribus.progress import Progress
from paribus.result import Result, open_model
from paribus.runfolder import (
    METRICS,
    PRETRAINED,
    TOKENIZER,
    WEIGHTS,
    RunFolder,
    last_line,
    read_result,
)
from paribus.runmodel import describe_model
from paribus.runstate.finding import going_on
from paribus.runstate.interruption import Interruption
from paribus.runstate.keeper import Keeper
from paribus.runstate.legs import CurrentLeg, Ledger
from paribus.runstate.lock import require_free
from paribus.runstate.opening import Opened, command, experiment_tree, sources
from paribus.runstate.store import Checkpoint, Store
from paribus.spec import absolute, dumps
from paribus.spec.paths import WORDS
from paribus.spec.sections import TRAINING_STEPS, Spec
from paribus.steps.examples import Examples
from paribus.steps.experiment import Experiment, Model
from paribus.steps.finetune import finetune
from paribus.steps.optimize import optimize
from paribus.steps.prepare import prepare
from paribus.steps.pretrain import pretrain
from paribus.steps.rehearsal import rehearse, require_all
from paribus.steps.select import select
from paribus.thrift import Thrift
from paribus.tuning import Tuning

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
    resume: str | Path | bool | None = None,
    accept_changes: bool = False,
    stop_after: int | None = None,
    check: bool = True,
) -> Result:
    """Run an experiment, or go on with a run of it, and return its result.

    Args:
        spec: from ``paribus.load``.
        backend: instead of the spec's.
        device: instead of the spec's: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        out: the run folder; by default the next free ``runs/NAME/BACKEND-N``. An unfinished run of
            the same spec and backend in it is gone on with.
        overwrite: replace the run that ``out`` holds.
        progress: what to say on the way; silent by default.
        resume: a run folder of the same spec, begun on any backend, to go on with: in place, or in
            ``out``. Of a run that is complete the result is returned. True: the one in ``out``, or
            without ``out`` the newest unfinished one in ``runs/NAME``. False: none.
        accept_changes: go on with another spec than the run's, where what changed is still to come.
        stop_after: stop after so many further optimizer steps, all trainings together, unless the
            run ends before; the result's status is then ``stopped``.
        check: of an experiment of several steps, first try one batch of everything that it may
            train (``paribus.steps.rehearsal``), before a folder is made or emptied.

    A run that has no more memory goes on from its last checkpoint with less beside its steps, to
    the same result (``paribus.thrift``).

    In the main thread, SIGINT and SIGTERM are heard when the steps under way are done and the
    state of the run is kept, and then do what they always do; a second one does it at once.

    Raises:
        SpecError, DataError, WeightsError: before any training, where they can be known.
        BackendError: the backend or device is not there, cannot honour the spec, or has not the
            memory (``OutOfMemory``).
        RunError: the run could not go on; the folder stays readable and says why.
        RunFolderError: the folder cannot be written, or cannot go on.
    """
    thrift, limit = Thrift(), _Limit(stop_after)
    while True:
        try:
            return _run(
                spec, backend, device, out, overwrite, progress, resume, accept_changes, limit,
                check, thrift,
            )  # fmt: skip
        except _Again as again:
            resume, out, overwrite, check = again.folder, None, False, False
        except _Diverged as diverged:
            folder, error = diverged.folder, diverged.error
            last = last_line(folder)
            with suppress(ParibusError, OSError):
                # The same steps once more, as far as they were good: without a checkpoint, or
                # since the last one, a few minutes.
                limit = _Limit(None, diverged.good)
                _run(
                    spec, backend, device, None, False, None, folder, accept_changes, limit, False,
                    thrift,
                )  # fmt: skip
                with (folder / METRICS).open("ab") as stream:
                    stream.write(last)
            with closing(RunFolder(folder)) as ended:
                ended.write_result(read_result(folder) | status.failure(error))
            error.add_note(f"go on with: {command(folder, native=spec.native is not None)}")
            raise error from None
        # What the failed attempt has left in circles is memory, too.
        gc.collect()


@dataclass
class _Limit:
    """The optimizer steps after which a run stops: from where it began, and of the whole run."""

    further: int | None
    step: int | None = None

    def after(self, steps: int) -> int | None:
        """Return how many more there are after ``steps`` steps of the run."""
        if self.step is None and self.further is not None:
            self.step = steps + self.further
        return None if self.step is None else self.step - steps


class _Again(Exception):
    """The run in a folder is to go on with less memory."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.folder = folder


class _Diverged(Exception):
    """A training that the run needs came to a loss that is not finite, after ``good`` steps."""

    def __init__(self, folder: Path, good: int, error: NonFiniteLoss) -> None:
        super().__init__(str(error))
        self.folder, self.good, self.error = folder, good, error


def _run(
    spec: Spec,
    backend: str | None,
    device: str | None,
    out: str | Path | None,
    overwrite: bool,
    progress: Progress | None,
    resume: str | Path | bool | None,
    accept_changes: bool,
    limit: _Limit,
    check: bool,
    thrift: Thrift,
) -> Result:
    """Make one attempt of what ``run`` says.

    Raises:
        _Again: it had no more memory, and something to give up.
        _Diverged: instead of ``NonFiniteLoss``, where the state before it is not on the disk.
    """
    stop_after = limit.further
    descriptor = registry.choose(spec.backend if backend is None else backend)
    place = registry.resolve_device(descriptor, spec.device if device is None else device)
    spec = absolute(spec).model_copy(update={"backend": descriptor.name, "device": place})
    target = None if out is None else Path(out)
    if stop_after is not None and stop_after < 1:
        raise SpecError(f"stop_after = {stop_after}; allowed: a whole number of at least 1")
    begun_in = going_on(resume, target, spec, overwrite=overwrite)
    unasked = begun_in is not None and (resume is None or resume is True)
    opened = None
    if begun_in is not None:
        if target is None:
            require_free(begun_in)
        opened = Opened.read(begun_in, spec, accept=accept_changes)
        _refuse_own_folder(opened.path, target, overwrite)
        if opened.complete:
            with suppress(OSError):
                Store(opened.path).clear()  # A run that was killed at its very end had not.
            return Result(opened.path)
    if target is not None and overwrite:
        _refuse_own_weights(spec, target)
    # What can be known to fail fails now: before training, and before a folder is made or emptied.
    natives = None if spec.native is None else Natives(spec.native, [descriptor], spec.seed)
    examples = Examples(spec, natives)
    prepare(spec, examples)
    data = sources(spec, examples)
    machine = Machine(descriptor, place, spec.precision, spec.numerics, thrift=thrift)
    if opened is not None:
        opened.require_data(data)
    try:
        if check and len(spec.steps) > 1:
            where = target or (Path("runs") / spec.name if opened is None else opened.path)
            keep = spec.checkpoints.keep
            require_all(rehearse(spec, examples, machine), machine, where, keep)
        if opened is not None:
            folder, begun = opened.folder(target, overwrite=overwrite)
        else:
            begun = None
            folder = (
                RunFolder.numbered(Path("runs") / spec.name, descriptor.name)
                if target is None
                else RunFolder.create(target, overwrite=overwrite)
            )
    except BaseException:
        machine.close()
        raise
    machine.tuning = _tuning(spec, begun)
    result = status.header(spec, descriptor)
    skipped = examples.skipped
    result["data"] = {
        "streamed": examples.streamed,
        "skipped": len(skipped),
        "skipped_files": skipped,
    }
    if thrift.events:
        result["out_of_memory"] = thrift.events
    folder.write_first(dumps(spec), result)
    keeper: Keeper | None = None

    def tell(ending: dict[str, Any]) -> None:
        status.tell(folder, result | (keeper.summary() if keeper else {}) | ending)

    try:
        with (
            progress or Progress() as shown,
            machine,
            Interruption() as interruption,
        ):
            if thrift.events:
                shown.note(thrift.said)
            _say_first(shown, opened, skipped, unasked=unasked)
            if not folder.locked:
                shown.warn(
                    f"{folder.path} is on a file system without locks: nothing keeps another run "
                    "out of it"
                )
            state = None if begun is None else begun.state
            stop_after = limit.after(0 if state is None else state.optimizer_steps)
            ledger = Ledger(
                experiment_tree(spec),
                data,
                [] if state is None else state.legs,
                CurrentLeg(
                    machine,
                    0 if state is None else state.optimizer_steps,
                    shown.warn,
                    () if opened is None else opened.changes,
                ),
            )
            folder.warn = ledger.leg.warn
            keeper = Keeper(folder, spec.checkpoints, interruption, ledger, begun, stop_after)
            experiment = Experiment(spec, examples, machine, folder.record, shown, keeper)
            result["steps"] = experiment.results
            _run_steps(experiment, folder, result)
            folder.finish()
            keeper.settle()
    except Stopped:
        tell({"status": "stopped"})
        return Result(folder.path)
    except OutOfMemory as error:
        tell(status.failure(error))
        if keeper is not None:
            keeper.rescue()
        if thrift.give_up(error):
            raise _Again(folder.path) from None
        if keeper is not None and keeper.store.numbers:
            error.add_note(f"go on with: {command(folder.path, native=spec.native is not None)}")
        raise
    except BaseException as error:
        if keeper is not None and isinstance(error, DataError):
            keeper.rescue()
        if keeper is not None:
            keeper.close()
        tell(status.failure(error))
        good = None if keeper is None else keeper.good
        if isinstance(error, NonFiniteLoss) and good is not None:
            raise _Diverged(folder.path, good, error) from None
        if keeper is not None and keeper.store.numbers:
            error.add_note(f"go on with: {command(folder.path, native=spec.native is not None)}")
        raise
    else:
        tell({"status": "complete"})
        with suppress(OSError):
            keeper.store.clear()
    finally:
        if keeper is not None:
            keeper.close()
        folder.close()
    # A signal that was heard too late to stop anything still ends the program, as it was meant to.
    interruption.deliver()
    return Result(folder.path)


def _tuning(spec: Spec, begun: Checkpoint | None) -> Tuning:
    """Return how far fast numerics may go, and what earlier legs of the run have chosen."""
    legs = [] if begun is None else begun.state.legs
    earlier = tuple(choice for leg in legs for choice in leg.choices)
    return Tuning(spec.tolerance, cache_folder(), earlier)


def _refuse_own_folder(path: Path, out: Path | None, overwrite: bool) -> None:
    """Refuse to empty the run that is to go on."""
    if overwrite and (out is None or out.resolve() == path.resolve()):
        raise RunFolderError(
            f"--resume goes on with {path}, and --overwrite would empty it first; leave out one of "
            "them, or choose another --out"
        )


def _say_first(
    shown: Progress, opened: Opened | None, skipped: Sequence[str], *, unasked: bool
) -> None:
    if skipped:
        shown.note(
            f"data: {len(skipped)} file{'s' if len(skipped) > 1 else ''} could not be read "
            f"and {'were' if len(skipped) > 1 else 'was'} left out, first {skipped[0]}"
        )
    if opened is None:
        return
    for what in opened.damaged:
        shown.warn(f"a checkpoint is damaged, and the one before is used: {what}")
    for change in opened.changes:
        shown.warn(f"going on with another spec than before: {change}")
    say = shown.warn if unasked else shown.note
    anew = "; --overwrite begins anew" if unasked else ""
    if opened.checkpoint is None:
        say(f"{opened.path} has no checkpoint; it begins at its beginning{anew}")
    else:
        steps = opened.checkpoint.state.optimizer_steps
        say(f"going on with {opened.path} after optimizer step {steps}{anew}")


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
        folder.write_progress(result)
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
    machine = experiment.machine
    if machine.thrift.alone:
        machine.close()
    with open_model(machine, model) as session:
        feed = Feed(session, machine.thrift.examples(dataset.x), dataset.y)
        found = model.judge.evaluate(feed, rows)
        experiment.say_choices()
        machine.forget(session)
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


__all__ = ["STEPS", "run", "test"]
