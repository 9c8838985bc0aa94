"""Steps of replicas on a GPU: brought to where they were recorded, played, and brought back."""

from __future__ import annotations

from torch import Tensor

from paribus.backends.torch.captured import Captured
from paribus.backends.torch.many import Computation, Many, ManySteps
from paribus.backends.torch.recordings import Recordings, stretches


class Playing:
    """Steps of one computation after the other, recorded and played on the same memory."""

    def __init__(self, many: Many) -> None:
        self._many = many
        self._own: Computation | None = None
        self._recordings = Recordings()

    def train(
        self,
        handle: object,
        given: ManySteps,
        counts: list[list[int]],
        computation: Computation,
        out: tuple[Tensor, Tensor],
    ) -> None:
        """Make K steps; what they change is brought here, and back.

        Args:
            handle: what the rows are of.
            given: what the steps read.
            counts: the real rows of their shards.
            computation: what they change.
            out: losses [K, S, r, b] and norms [K, r, 1].
        """
        own = self._room(computation)
        theirs, ours = _changed(computation), _changed(own)
        for mine, one in zip(ours, theirs, strict=True):
            mine.copy_(one)
        scalars = dict(zip(self._many.scalars, given.scalars, strict=True))
        for first, number in stretches(counts):
            done = self._played(handle, given, counts[first], (first, number), own, out)
            which = range(first + done, first + number)
            self._many.each(given, counts, scalars, which, own, out)
        for mine, one in zip(ours, theirs, strict=True):
            one.copy_(mine)

    @property
    def remarks(self) -> list[str]:
        """What the user should know of steps that could not be recorded."""
        return self._recordings.remarks

    def free(self, handle: object) -> None:
        """Forget what reads examples that will not be used again."""
        self._recordings.free(handle)

    def clear(self) -> None:
        """Forget everything."""
        self._recordings.clear()
        self._own = None

    def _room(self, computation: Computation) -> Computation:
        """Return memory of the same shapes; always the same."""
        known = self._own
        if known is None or known.part.weights.shape != computation.part.weights.shape:
            self.clear()
            known = self._many.beside(computation)
            self._own = known
        return known

    def _played(
        self,
        handle: object,
        given: ManySteps,
        counts: list[int],
        which: tuple[int, int],
        own: Computation,
        out: tuple[Tensor, Tensor],
    ) -> int:
        """Play a stretch of steps; return how many of them: the first ones, or none."""
        if given.rows.kind is None:
            return 0
        shapes = tuple(None if one is None else one.shape[1:] for one in given.parts)
        key = given.rows.kind, tuple(counts), shapes
        work = self._many.work(own, counts)
        return self._recordings.play(
            key, handle, lambda: Captured(handle, given, out, work), given, which, out
        )


def _changed(own: Computation) -> list[Tensor]:
    """Return what steps change, in one order."""
    views = own.found
    beside = [value for name, value in own.tensors.items() if name not in views]
    return [own.part.weights, *own.part.slots, *beside]
