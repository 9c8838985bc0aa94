"""What a session has recorded: by what steps have in common, and for how long it is kept."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from torch import Tensor

from paribus.backends.torch.batches import Batches
from paribus.backends.torch.captured import Captured, NotRecorded, P
from paribus.plan import EvalPlan, TrainPlan

# After how many steps a recording's place may be taken by one on other examples: recording takes as
# long as some dozens of steps, and streamed rows are elsewhere each time.
WORTH = 64
# Recordings of steps that differ: of texts of other lengths, say.
MOST = 16
REFUSED = (
    "{device}: what PyTorch could not record as a CUDA graph is launched operation by operation, "
    "which gives the same numbers and may take several times as long ({why})"
)


class Recordings:
    """What a session has recorded, by what steps have in common.

    Attributes:
        remarks: what the user should know of what could not be recorded, each once.
    """

    def __init__(self) -> None:
        self.remarks: list[str] = []
        self._found: dict[Hashable, Captured[Any]] = {}
        self._refused: set[Hashable] = set()

    def play(
        self,
        key: Hashable,
        handle: object,
        begin: Callable[[], Captured[P]],
        steps: P,
        which: tuple[int, int],
        out: Sequence[Tensor],
    ) -> int:
        """Play a stretch of steps; return how many of them: the first ones, or none.

        Args:
            key: what steps like these have in common.
            handle: the examples that they read.
            begin: returns a new recording of one.
            steps: the plan's; which: the number of the first, and how many.
            out: where it goes what comes of them, [K, …] each.
        """
        found = self.get(key, handle)
        if found is None:
            if not self.may(key, handle):
                return 0
            found = self.put(key, begin())
        first, count = which
        return self.make(key, found, steps, first, count, out, first)

    def get(self, key: Hashable, handle: object) -> Captured[Any] | None:
        """Return the recording of steps on these examples, if there is one."""
        found = self._found.get(key)
        return found if found is not None and found.handle is handle else None

    def may(self, key: Hashable, handle: object) -> bool:
        """Return whether a recording of steps on these examples may be begun."""
        if key in self._refused:
            return False
        found = self._found.get(key)
        return len(self._found) < MOST if found is None else found.made >= WORTH

    def put(self, key: Hashable, recording: Captured[P]) -> Captured[P]:
        """Keep a recording, instead of that of other examples."""
        self._found[key] = recording
        return recording

    def make(
        self,
        key: Hashable,
        recording: Captured[P],
        steps: P,
        first: int,
        count: int,
        out: Sequence[Tensor],
        to: int,
    ) -> int:
        """Play steps (``Captured.make``); return how many: the others are made in another way."""
        before = recording.made
        try:
            recording.make(steps, first, count, out, to)
        except NotRecorded as error:
            del self._found[key]
            self._refused.add(key)
            remark = REFUSED.format(device=out[0].device, why=error)
            if remark not in self.remarks:
                self.remarks.append(remark)
        return recording.made - before

    def free(self, handle: object) -> None:
        """Forget what reads examples that will not be used again."""
        self._found = {k: one for k, one in self._found.items() if one.handle is not handle}

    def clear(self) -> None:
        """Forget everything; what was recorded holds memory of the device."""
        self._found = {}

    def __len__(self) -> int:
        return len(self._found)


def stretches(counts: Sequence[object]) -> list[tuple[int, int]]:
    """Return where steps with the same rows per shard begin, and how many there are in a row."""
    found: list[tuple[int, int]] = []
    for step, own in enumerate(counts):
        if found and own == counts[found[-1][0]]:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((step, 1))
    return found


def key(counts: Sequence[int], plan: TrainPlan, batches: Batches) -> Hashable:
    """Return what steps of the same recording have in common."""
    return batches.kind, tuple(counts), plan.indices.shape[1:], plan.noise is not None


def shape(count: int, plan: EvalPlan, batches: Batches) -> Hashable:
    """Return the same of batches that are evaluated."""
    return batches.kind, count, plan.indices.shape[1:]
