"""Many trainings side by side: every loop as it is alone, their steps made as one computation.

Each training runs the loop of ``paribus.loop`` and waits where that waits. When all of them wait,
what they have put down is handed to the replicas together, those of one shape in one call. A
training that ends leaves; one whose loss is not finite ends with that, and the others go on.

Trainings keep step: who is at the end of an epoch waits there for the others, so that epochs are
judged together and the next ones begin together, also after a run was stopped between the steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Any

from paribus.adapter import Array, Tensors
from paribus.collecting import seldom_collected
from paribus.errors import NonFiniteLoss
from paribus.judging import judge_together
from paribus.keeping import Keeping
from paribus.loop import Trained, training
from paribus.metrics import Evaluation
from paribus.pace import Pace
from paribus.plan import EvalPlan, Integers, StepResults, TrainPlan
from paribus.progress import Progress
from paribus.replicas import Replicas
from paribus.stepping import Results, Training, Turn, Wanted
from paribus.steprows import Row

# Outputs, counted in numbers, that are judged at a time.
JUDGED_NUMBERS = 1 << 23
# Steps of the first call, and what later ones aim at: each costs every training some calls.
FIRST, SECONDS = 16, 1.0

Ending = Trained | NonFiniteLoss


class PutDown:
    """A plan that waits to be executed with those of others; a ``Pending``."""

    def __init__(self, replica: Replica, handle: Any, plan: TrainPlan) -> None:
        self.replica, self.handle, self.plan = replica, handle, plan

    def result(self) -> StepResults:
        """Execute the plan without the others."""
        number = self.replica.number
        return self.replica.replicas.train_steps(self.handle, {number: self.plan})[number]


class Replica:
    """One of many replicas, as a training sees it: a ``Learner``.

    Attributes:
        replicas, number: which one of which.
        share: of the replicas' compile seconds.
    """

    def __init__(self, replicas: Replicas, number: int, share: float) -> None:
        self.replicas, self.number, self._share = replicas, number, share

    @property
    def compile_seconds(self) -> float:
        """See ``Learner``."""
        return self.replicas.compile_seconds * self._share

    def import_weights(self, tensors: Tensors) -> None:
        """See ``Learner``."""
        self.replicas.import_weights(self.number, tensors)

    def export_weights(self) -> dict[str, Array]:
        """See ``Learner``."""
        return self.replicas.export_weights(self.number)

    def import_optimizer(self, slots: Mapping[str, Tensors]) -> None:
        """See ``Learner``."""
        self.replicas.import_optimizer(self.number, slots)

    def export_optimizer(self) -> dict[str, dict[str, Array]]:
        """See ``Learner``."""
        return self.replicas.export_optimizer(self.number)

    def train_steps(self, handle: Any, plan: TrainPlan) -> PutDown:
        """Put the plan down."""
        return PutDown(self, handle, plan)


class Allotted(Pace):
    """The pace of one training among many: what it is told."""

    ahead = False

    def adapt(self, steps: int, seconds: float) -> None:
        """Learn nothing; how long a plan took says little where it ran with others."""


class Counting(Keeping):
    """The keeping of one training among many: it counts, and leaves the rest to ``run``."""

    def __init__(self, inner: Keeping) -> None:
        self._inner = inner

    def advance(self, steps: int) -> None:
        """See ``Keeping``."""
        self._inner.advance(steps)


class Share:
    """A clock that shows one training's share of the time that all of them took."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """Return it."""
        return self.seconds


class _Member:
    def __init__(self, work: Training, going: Generator[Wanted, Any, Trained]) -> None:
        assert isinstance(work.session, Replica)
        self.work, self.going, self.replica = work, going, work.session
        self.share, self.pace = Share(), Allotted()
        self.wants: Wanted | None = None
        work.clock, work.pace = self.share, self.pace
        # What is judged after each epoch is the same rows; None without any.
        self.judged: EvalPlan | None = None

    @property
    def place(self) -> tuple[int, int]:
        return self.work.position.epoch, self.work.position.start


def run(
    works: Sequence[Training],
    handle: Any,
    title: str,
    keeping: Keeping,
    progress: Progress,
    ended: Callable[[int, Ending], None],
) -> None:
    """Run trainings of one session of replicas, to the end of each.

    Args:
        works: their sessions are ``Replica``s with weights and slots, their positions where each
            goes on; their pace, clock, keeping and progress are set here.
        handle: the examples, put on the replicas.
        title: what people call them together.
        keeping: of the run; what is due is kept between two calls, none of which is under way.
        progress: shows all of them as one.
        ended: told of each, when it ends, its number and how: what ``train`` would return or raise.

    Raises:
        what ``keeping`` raises to end the run.
    """
    record, rows = works[0].record, list[Row]()
    with ExitStack() as stack:
        stack.enter_context(seldom_collected())
        members: dict[int, _Member] = {}
        for index, work in enumerate(works):
            work.keeping, work.progress, work.record = Counting(keeping), Progress(), rows.extend
            going = stack.enter_context(closing(training(work)))
            members[index] = _Member(work, going)
        progress.begin(title, sum(work.schedule.total_steps for work in works))
        stack.callback(progress.end)
        batch = _Batch(members, handle, progress, ended)
        batch.judge_plans()
        for index in list(members):
            batch.resume(index, None)
        pace = Pace(FIRST, SECONDS)
        while members:
            if rows:
                record(rows)
                rows.clear()
            if keeping.due(0):
                keeping.save()
            turns = [i for i, member in members.items() if isinstance(member.wants, Turn)]
            if turns:
                batch.allot(turns, pace.size, keeping.room(0))
                batch.train(pace)
            else:
                batch.judge()
        if rows:
            record(rows)


class _Batch:
    """The trainings that have not ended, by number."""

    def __init__(
        self,
        members: dict[int, _Member],
        handle: Any,
        progress: Progress,
        ended: Callable[[int, Ending], None],
    ) -> None:
        self._members, self._handle = members, handle
        self._progress, self._ended = progress, ended
        self._replicas = next(iter(members.values())).replica.replicas
        self._told = time.perf_counter()

    def resume(self, index: int, answer: Any) -> None:
        """Send a training what it waits for, and note what it wants next."""
        member = self._members[index]
        ending: Ending
        try:
            member.wants = member.going.send(answer)
            return
        except StopIteration as end:
            ending = end.value
        except NonFiniteLoss as error:
            ending = error
        del self._members[index]
        self._ended(index, ending)

    def allot(self, turns: list[int], size: int, room: int | None) -> None:
        """Let trainings send steps: as many each, or where few may be made, one each of some."""
        if room is not None and room < len(turns):
            turns, size = sorted(turns, key=lambda i: (self._members[i].place, i))[:room], 1
        elif room is not None:
            size = min(size, room // len(turns))
        for index in turns:
            self._members[index].pace.size = size
            self.resume(index, None)

    def train(self, pace: Pace) -> None:
        """Make the steps that were put down."""
        asked: dict[Any, dict[int, TrainPlan]] = {}
        for index, member in self._members.items():
            if isinstance(member.wants, Results):
                pending = member.wants.pending
                assert isinstance(pending, PutDown)
                asked.setdefault(pending.plan.indices.shape, {})[index] = pending.plan
        began = time.perf_counter()
        found: dict[int, StepResults] = {}
        for plans in asked.values():
            numbers = {self._members[i].replica.number: i for i in plans}
            given = {number: plans[i] for number, i in numbers.items()}
            done = self._replicas.train_steps(self._handle, given)
            found |= {numbers[number]: results for number, results in done.items()}
        if found:
            pace.adapt(max(shape[0] for shape in asked), time.perf_counter() - began)
        self._share_time()
        for index, results in found.items():
            self._progress.advance(len(results.losses), float(results.losses[-1]))
            self.resume(index, results)

    def judge_plans(self) -> None:
        """Lay down what each training is judged on; those of the same rows share a plan."""
        known: dict[Any, tuple[EvalPlan, Integers]] = {}
        for member in self._members.values():
            work = member.work
            if len(work.validation):
                key = work.judge.inputs.preprocess, work.validation.tobytes()
                if key not in known:
                    known[key] = work.judge.plan(work.validation), work.validation
                member.judged, work.validation = known[key]

    def judge(self) -> None:
        """Judge the trainings that are at the end of an epoch: all of them."""
        some: list[int] = []
        numbers = 0
        found: dict[int, Evaluation] = {}
        for index, member in self._members.items():
            if member.judged is not None:
                some.append(index)
                numbers += len(member.work.validation) * member.work.judge.classes
            if numbers > JUDGED_NUMBERS:
                found |= self._judged(some)
                some, numbers = [], 0
        found |= self._judged(some)
        self._share_time()
        for index in list(self._members):
            self.resume(index, found.get(index))

    def _judged(self, some: Sequence[int]) -> dict[int, Evaluation]:
        members = [self._members[index] for index in some]
        plans = {m.replica.number: m.judged for m in members if m.judged is not None}
        outputs = list(self._replicas.predict(self._handle, plans).values()) if plans else []
        works = [member.work for member in members]
        judged = judge_together(
            [work.judge for work in works], [work.validation for work in works], outputs
        )
        return dict(zip(some, judged, strict=True))

    def _share_time(self) -> None:
        """Give each training its share of the time since the last one."""
        now = time.perf_counter()
        for member in self._members.values():
            member.share.seconds += (now - self._told) / len(self._members)
        self._told = now


__all__ = ["Ending", "Replica", "run"]
