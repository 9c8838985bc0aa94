"""A dry pass: one batch of every training that a run may come to, before any of them begins.

What is made of the first batch is everything that a training does: forward, backward, an update,
an evaluation, and weights and slots on their way out. What fails there would have failed later.

What trainings do besides is ``paribus.steps.besides``: features of frozen bodies, and many
trainings as one computation.

Nothing of it reaches the run. Weights are zeros, which no training starts from: a session takes
other weights before it trains, which sets its slots to zero. What is drawn is a function of seed,
stream and step, and nothing is kept but open sessions with what they have compiled, of which the
run's first trainings make use. Fast numerics choose by trying, and what they try are the run's own
first steps, and a model of the user's own may keep what nobody knows of; so their sessions, and
those of frozen bodies, are opened apart and closed again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from paribus import registry
from paribus.adapter import Session
from paribus.architectures.cost import products
from paribus.batches import Epoch
from paribus.data import Streamed
from paribus.errors import BackendError, OutOfMemory, ParibusError
from paribus.feeding import Feed
from paribus.machine import Machine
from paribus.pace import Pace
from paribus.runstate.room import require_room
from paribus.spec.sections import Spec
from paribus.steps.besides import Besides
from paribus.steps.edges import planned
from paribus.steps.examples import Examples
from paribus.steps.judged import rows_that_fit
from paribus.steps.outlined import Outline, outlined, zeros
from paribus.steps.shards import that_fits

# Steps of an epoch among which the one with the longest texts is looked for.
LOOKED_AT = 256
# Multiply-adds of a step up to which as many are made as a run sends first, so that what is
# compiled for them is compiled once.
SMALL_STEP = 8_000_000


@dataclass(frozen=True)
class Tried:
    """What became of a training's first batch.

    Attributes:
        where: what people call the training.
        model: its architecture; rows: of its batch.
        like: the training that was tried instead, as it computes as much; empty for its own.
        error: why it cannot be made; None where it can.
        seconds: that trying took.
        state: bytes of a checkpoint in the middle of it.
        thrift: whether it fits the memory only with nothing beside it (``Machine.thrifty``).
    """

    where: str
    model: str
    rows: int
    like: str
    error: ParibusError | None
    seconds: float
    state: int
    thrift: bool = False


def rehearse(spec: Spec, examples: Examples, machine: Machine) -> Iterator[Tried]:
    """Try what a run may train, and yield what became of each, in the order of the run.

    Of one network, what computes no more than another is not tried by itself: a backend is asked
    whether it has its update rule, and that is all. The first ones are tried last, so that their
    sessions are still open when the run begins with them.

    Args:
        spec: the experiment's; ``paribus.steps.prepare`` has no objection to it.
        examples: its data.
        machine: where it would run; sessions stay open on it.

    Raises:
        SpecError, DataError: what stands in the way of trying.
    """
    found = [outlined(spec, one, examples) for one in planned(spec, examples)]
    like: list[int] = []
    for place, one in enumerate(found):
        covering = (i for i in dict.fromkeys(like) if found[i].covers(one))
        like.append(next(covering, place))
    besides = Besides(machine, spec.cache.enabled)
    failed = {place: besides.features(one) for place, one in enumerate(found)}
    for place in reversed(range(len(found))):
        failed[place] = failed[place] or besides.together(found[place])
    tried = {place: _try(found[place], machine) for place in sorted(set(like), reverse=True)}
    for place, one in enumerate(found):
        result = tried[like[place]]
        result = replace(result, error=result.error or failed[like[place]])
        if like[place] != place:
            result = replace(
                result,
                where=one.planned.where,
                rows=one.schedule.sizes[0],
                like=result.where,
                error=result.error or failed[place] or _refused(one, machine),
                seconds=0.0,
                state=one.state,
            )
        yield result


def _refused(one: Outline, machine: Machine) -> ParibusError | None:
    """Return what the backend says of a training without computing any of it."""
    try:
        registry.check(machine.backend, one.network, one.task, machine.precision, machine.device)
    except BackendError as error:
        return error
    return None


def _try(one: Outline, machine: Machine) -> Tried:
    began, thrift = time.perf_counter(), False
    error = _refused(one, machine)
    if error is None:
        error = _failure(one, machine)
        if isinstance(error, OutOfMemory):
            # What is open beside it is not its fault.
            machine.close()
            error, thrift = _failure(one, machine, thrift=True), True
        if isinstance(error, OutOfMemory) and error.judging:
            error = _judged(one, machine, error)
        elif isinstance(error, OutOfMemory):
            error = that_fits(
                machine, one.network, one.task, one.dataset, one.schedule, error, one.planned.step
            )
    rows, model = one.schedule.sizes[0], one.network.architecture
    seconds = time.perf_counter() - began
    return Tried(one.planned.where, model, rows, "", error, seconds, one.state, thrift)


def _failure(one: Outline, machine: Machine, *, thrift: bool = False) -> ParibusError | None:
    try:
        native = one.planned.spec.native is not None
        if machine.numerics == "fast" or one.frozen or native or thrift:
            with machine.apart(one.network, one.task) as session:
                feed = Feed(session, Streamed.of(one.dataset.x), one.dataset.y)
                _pass(one, session, feed, thrift)
        else:
            session = machine.session(one.network, one.task)
            _pass(one, session, machine.feed(session, one.dataset), thrift)
    except ParibusError as error:
        return error
    except Exception as error:
        if one.planned.spec.native is None:
            raise
        # The user's own code may raise anything.
        failed = BackendError(f"a model of your own failed: {type(error).__name__}: {error}")
        failed.__cause__ = error
        return failed
    return None


def _judged(one: Outline, machine: Machine, error: OutOfMemory) -> OutOfMemory | None:
    """Return what stands against judging fewer rows at a time; None where nothing does.

    How many is found out when it is needed, with the weights that there are then.
    """

    def opened() -> Session:
        session = machine.apart(one.network, one.task)
        session.import_weights(zeros(one.network))
        return session

    rows = one.planned.validation
    found = rows_that_fit(machine, opened, one.dataset, one.judge, rows, error)
    return found if found.rows is None else None


def _pass(one: Outline, session: Session, feed: Feed, thrift: bool) -> None:
    """Do with a session what a training does; its weights are anybody's afterwards."""
    session.import_weights(zeros(one.network))
    schedule = one.schedule
    epoch = schedule.epoch(0)
    small = not thrift and products(one.network) * schedule.sizes[0] <= SMALL_STEP
    start, count = _longest(epoch), Pace().size if small else 1
    most = feed.steps(schedule.sizes[start]) or count
    with closing(feed.fed([epoch.plan(start, min(count, most))])) as plans:
        for fed in plans:
            session.train_steps(fed.handle, fed.plan).result()
            feed.free(fed)
    if len(one.planned.validation):
        one.judge.sample(feed, one.planned.validation)
    session.export_weights()
    session.export_optimizer()


def _longest(epoch: Epoch) -> int:
    """Return the step that reads the longest texts, among the first ones; 0 of other data."""
    schedule = epoch.schedule
    if schedule.inputs.lengths is None:
        return 0
    size, steps = schedule.sizes[0], min(LOOKED_AT, len(schedule.sizes))
    widths = [schedule.inputs.width(epoch.order[k * size : (k + 1) * size]) for k in range(steps)]
    return max(range(steps), key=lambda k: widths[k] or 0)


def require_all(tried: Iterable[Tried], machine: Machine, folder: Path, keep: int) -> None:
    """Require that everything that was tried can be made, and that there is room for its state.

    What fits only with nothing beside it makes the machine thrifty from the beginning.

    Args:
        tried: from ``rehearse``.
        machine: where the run will be.
        folder: what it will leave, or the one above; it need not exist.
        keep: checkpoints that it keeps.

    Raises:
        ParibusError: the first error, which names its training.
        RunFolderError: as of ``require_room``.
    """
    largest = 0
    for one in tried:
        if one.error is not None:
            raise type(one.error)(f"{one.where}: {one.error}") from one.error
        if one.thrift and not machine.thrift.alone:
            machine.thrift.give_up(OutOfMemory(f"{one.where}: memory ran out when it was tried"))
        largest = max(largest, one.state)
    require_room(folder, largest, keep)


__all__ = ["Tried", "rehearse", "require_all"]
