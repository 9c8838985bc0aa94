"""A session of the part that trains, which behaves as one of the whole network.

Its examples are features, so a plan is numbered anew over them and reads them as they are. Weights
go in and come out whole: what is frozen stays here. Whatever drives a session need not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from paribus import weights
from paribus.adapter import Array, Pending, Session, Tensors
from paribus.architectures.parts import Cut
from paribus.belongings import NOTHING, Belongings
from paribus.errors import WeightsError
from paribus.features.computing import Shape
from paribus.plan import Augmentation, EvalPlan, Integers, Preprocess, Sums, TrainPlan


@dataclass(frozen=True)
class Places:
    """Where the features of a data set's rows are.

    Attributes:
        of_rows: int64 [N], the place of each row; −1 where there is none.
        rows: how many have one.
        copies: each copy's draws of all N rows; those of copy k are k + 1 times ``rows`` behind.
        same: by the names of shapes, whether batches of them have the features' arithmetic.
    """

    of_rows: Integers
    rows: int
    copies: Sequence[Augmentation] = ()
    same: Mapping[str, bool] = field(default_factory=dict)

    def __call__(self, plan: TrainPlan | EvalPlan) -> Integers:
        """Return the places of a plan's rows, of the copy that it draws."""
        places = self.of_rows[plan.indices]
        if places.min() < 0:
            raise ValueError("a plan reads rows whose features were not computed")
        drawn = getattr(plan, "augmentation", None)
        return places if drawn is None else places + (self._copy(plan, drawn) + 1) * self.rows

    def hold(self, plan: TrainPlan) -> bool:
        """Whether features hold for a plan's batches."""
        shapes = (Shape(rows, plan.preprocess.length) for rows in np.unique(plan.counts).tolist())
        return all(self.same.get(shape.name, False) for shape in shapes)

    def _copy(self, plan: TrainPlan | EvalPlan, drawn: Augmentation) -> int:
        """Return which copy a plan's draws are; where two have the same, either will do."""
        for number, copy in enumerate(self.copies):
            if all(np.array_equal(vars(copy)[name][plan.indices], draws)
                   for name, draws in vars(drawn).items()):  # fmt: skip
                return number
        raise ValueError("a plan draws windows that are none of the copies")


class TailSession(Session):
    """See ``Session``; handles are of features.

    Args:
        session: of the tail.
        cut: the whole network and its parts.
        tensors: canonical tensors of the body that the features were computed with.
        dtype: of parameters.
        places: where features are; None where plans are numbered over them already.
        anew: ``(plan)`` → features of the plan's real rows, in its own batches, and their labels.
        whole: ``()`` → a session of the whole network, its weights undefined.
    """

    def __init__(
        self,
        session: Session,
        cut: Cut,
        tensors: Tensors,
        dtype: np.dtype[Any],
        places: Places | None,
        anew: Callable[[TrainPlan], tuple[Array, Array]],
        whole: Callable[[], Session],
    ) -> None:
        self._session, self._cut, self._dtype = session, cut, dtype
        self._places, self._anew, self._whole = places, anew, whole
        self._given = {name: tensors[name] for name in cut.body.tensors}
        self._frozen: dict[str, Array] = {}
        for name, given in self._given.items():
            # Shared with whoever exports them: nobody ever changes what is frozen.
            array = np.array(given, dtype=dtype)
            array.setflags(write=False)
            self._frozen[name] = array

    @property
    def compile_seconds(self) -> float:  # type: ignore[override]
        """The tail's."""
        return self._session.compile_seconds

    @property
    def remarks(self) -> Sequence[str]:  # type: ignore[override]
        """The tail's."""
        return self._session.remarks

    def import_weights(self, tensors: Tensors) -> None:
        """Take the tail's tensors; those of the body have to be the ones there were."""
        weights.check(tensors, weights.shapes(self._cut.whole))
        for name, array in self._frozen.items():
            new = tensors[name]
            if new is not self._given[name] and not np.array_equal(
                np.asarray(new, self._dtype), array
            ):
                raise WeightsError(
                    f"{name} is frozen, and its values are others than those that the features "
                    "were computed with; open a session for these weights"
                )
        self._session.import_weights({name: tensors[name] for name in self._cut.tail.tensors})

    def export_weights(self) -> dict[str, Array]:
        """Return all tensors; those of the body are read-only, and the same arrays every time."""
        found = self._frozen | self._session.export_weights()
        return {name: found[name] for name in self._cut.whole.tensors}

    def import_optimizer(self, slots: Mapping[str, Tensors]) -> None:
        """See ``Session``."""
        self._session.import_optimizer(slots)

    def export_optimizer(self) -> dict[str, dict[str, Array]]:
        """See ``Session``."""
        return self._session.export_optimizer()

    def put(self, x: Array, y: Array | None) -> Any:
        """Place features."""
        return self._session.put(x, y)

    def free(self, handle: Any) -> None:
        """See ``Session``."""
        self._session.free(handle)

    def train_steps(self, handle: Any, plan: TrainPlan) -> Pending:
        """See ``Session``; steps whose batches' arithmetic is another compute the body anew."""
        return self._session.train_steps(*self._train(handle, plan))

    def evaluate(self, handle: Any, plan: EvalPlan) -> Sums:
        """See ``Session``."""
        return self._session.evaluate(handle, self._moved(plan))

    def predict(self, handle: Any, plan: EvalPlan) -> Array:
        """See ``Session``."""
        return self._session.predict(handle, self._moved(plan))

    def gradients(self, handle: Any, plan: TrainPlan) -> tuple[float, dict[str, Array]]:
        """See ``Session``."""
        return self._session.gradients(*self._train(handle, plan))

    def forward(self, handle: Any, plan: EvalPlan, *, training: bool) -> Array:
        """See ``Session``."""
        return self._session.forward(handle, self._moved(plan), training=training)

    def activations(self, handle: Any, plan: EvalPlan, *, training: bool) -> dict[str, Array]:
        """See ``Session``; of the tail's nodes."""
        return self._session.activations(handle, self._moved(plan), training=training)

    def native(self) -> Any:
        """See ``Session``; the whole network's."""
        return self._opened().native()

    def save_native(self, folder: Path, belongings: Belongings = NOTHING) -> Path:
        """See ``Session``; the whole network's."""
        return self._opened().save_native(folder, belongings)

    def close(self) -> None:
        """Leave the tail's session to its owner."""

    def _opened(self) -> Session:
        session = self._whole()
        session.import_weights(self.export_weights())
        return session

    def _moved(self, plan: EvalPlan) -> EvalPlan:
        return EvalPlan(plan.indices if self._places is None else self._places(plan), plan.counts)

    def _train(self, handle: Any, plan: TrainPlan) -> tuple[Any, TrainPlan]:
        """Return a plan over features, and the handle of these."""
        if self._places is None:
            places = plan.indices
        elif self._places.hold(plan):
            places = self._places(plan)
        else:
            handle = self._session.put(*self._anew(plan))
            rows, shards = plan.indices.shape[2], plan.counts.ravel()
            first = (np.cumsum(shards) - shards)[:, None]
            within = np.minimum(np.arange(rows), shards[:, None] - 1)
            places = (first + within).reshape(plan.indices.shape)
        return handle, replace(
            plan, indices=places, preprocess=Preprocess(), augmentation=None, targets=None
        )
