"""Replicas of the part that trains, which behave as replicas of the whole network.

What ``TailSession`` is to a session: the features are there once, for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from paribus import weights
from paribus.adapter import Array, Tensors
from paribus.architectures.parts import Cut
from paribus.errors import WeightsError
from paribus.features.tail import Places
from paribus.plan import EvalPlan, Integers, Preprocess, StepResults, TrainPlan
from paribus.replicas import Replicas


class TailReplicas(Replicas):
    """See ``Replicas``; handles are of features.

    Batches read the features that are kept, whatever their size: replicas promise a session's
    results to rounding, and the kernels of the body differ by no more.

    Args:
        replicas: of the tail.
        cut: the whole network and its parts.
        frozen: canonical tensors of the body that the features were computed with.
        places: where features are.
    """

    def __init__(
        self, replicas: Replicas, cut: Cut, frozen: Mapping[str, Array], places: Places
    ) -> None:
        self._replicas, self._cut, self._places = replicas, cut, places
        self._frozen = frozen

    @property
    def compile_seconds(self) -> float:  # type: ignore[override]
        """The tail's."""
        return self._replicas.compile_seconds

    @property
    def remarks(self) -> Sequence[str]:  # type: ignore[override]
        """The tail's."""
        return self._replicas.remarks

    def import_weights(self, replica: int, tensors: Tensors) -> None:
        """Take the tail's tensors; those of the body have to be the ones there were."""
        weights.check(tensors, weights.shapes(self._cut.whole))
        for name, array in self._frozen.items():
            new = tensors[name]
            if new is not array and not np.array_equal(np.asarray(new, array.dtype), array):
                raise WeightsError(
                    f"{name} is frozen, and its values are others than those that the features "
                    "were computed with; open replicas for these weights"
                )
        self._replicas.import_weights(replica, {n: tensors[n] for n in self._cut.tail.tensors})

    def export_weights(self, replica: int) -> dict[str, Array]:
        """Return all tensors; those of the body are the same read-only arrays every time."""
        found = {**self._frozen, **self._replicas.export_weights(replica)}
        return {name: found[name] for name in self._cut.whole.tensors}

    def import_optimizer(self, replica: int, slots: Mapping[str, Tensors]) -> None:
        """See ``Replicas``."""
        self._replicas.import_optimizer(replica, slots)

    def export_optimizer(self, replica: int) -> dict[str, dict[str, Array]]:
        """See ``Replicas``."""
        return self._replicas.export_optimizer(replica)

    def put(self, x: Array, y: Array | None) -> Any:
        """Place features."""
        return self._replicas.put(x, y)

    def free(self, handle: Any) -> None:
        """See ``Replicas``."""
        self._replicas.free(handle)

    def train_steps(self, handle: Any, plans: Mapping[int, TrainPlan]) -> dict[int, StepResults]:
        """See ``Replicas``."""
        moved = self._moved(list(plans.values()))
        given = {
            number: replace(plan, indices=moved[id(plan.indices)], preprocess=Preprocess())
            for number, plan in plans.items()
        }
        return self._replicas.train_steps(handle, given)

    def predict(self, handle: Any, plans: Mapping[int, EvalPlan]) -> dict[int, Array]:
        """See ``Replicas``."""
        moved = self._moved(list(plans.values()))
        given = {
            number: EvalPlan(moved[id(plan.indices)], plan.counts) for number, plan in plans.items()
        }
        return self._replicas.predict(handle, given)

    def close(self) -> None:
        """Leave the tail's replicas to their owner."""

    def _moved(self, plans: Sequence[TrainPlan | EvalPlan]) -> dict[int, Integers]:
        """Return plans' places by the identity of their rows; what is shared stays shared."""
        found: dict[int, Integers] = {}
        for plan in plans:
            if id(plan.indices) not in found:
                found[id(plan.indices)] = self._places(plan)
        return found
