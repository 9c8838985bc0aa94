"""One attempt at a run: everything is checked and opened, its steps run, and its end is told."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paribus import registry, status
from paribus.cachefolder import cache_folder
from paribus.collecting import set_aside
from paribus.errors import (
    DataError,
    NonFiniteLoss,
    OutOfMemory,
    RunError,
    RunFolderError,
    SpecError,
)
from paribus.keeping import Stopped
from paribus.machine import Machine
from paribus.native.natives import Natives
from paribus.progress import Progress
from paribus.result import Result
from paribus.runfolder import RunFolder
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
from paribus.steps.experiment import Experiment
from paribus.steps.prepare import prepare
from paribus.steps.rehearsal import rehearse, require_all
from paribus.steps.sequence import run_steps
from paribus.thrift import Thrift
from paribus.tuning import Tuning


@dataclass
class Limit:
    """The optimizer steps after which a run stops: from where it began, and of the whole run."""

    further: int | None
    step: int | None = None

    def after(self, steps: int) -> int | None:
        """Return how many more there are after ``steps`` steps of the run."""
        if self.step is None and self.further is not None:
            self.step = steps + self.further
        return None if self.step is None else self.step - steps


class Again(Exception):
    """The run in a folder is to go on with less memory."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.folder = folder


class Diverged(Exception):
    """A training that the run needs came to a loss that is not finite, after ``good`` steps."""

    def __init__(self, folder: Path, good: int, error: NonFiniteLoss) -> None:
        super().__init__(str(error))
        self.folder, self.good, self.error = folder, good, error


def attempt(
    spec: Spec,
    backend: str | None,
    device: str | None,
    out: str | Path | None,
    overwrite: bool,
    progress: Progress | None,
    resume: str | Path | bool | None,
    accept_changes: bool,
    limit: Limit,
    check: bool,
    thrift: Thrift,
) -> Result:
    """Make one attempt of what ``run`` says.

    Raises:
        Again: it had no more memory, and something to give up.
        Diverged: instead of ``NonFiniteLoss``, where the state before it is not on the disk.
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
    known = prepare(spec, examples)
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
            set_aside(),
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
            experiment = Experiment(
                spec, examples, machine, folder.record, shown, keeper, weights=known
            )
            result["steps"] = experiment.results
            run_steps(experiment, folder, result)
            try:
                examples.require_unchanged()
            except RunError:
                keeper.settle()
                keeper.store.clear()
                raise
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
            raise Again(folder.path) from None
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
            raise Diverged(folder.path, good, error) from None
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
