"""Weights and optimizer state: NumPy under canonical names outside, trees of arrays inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from paribus import weights
from paribus.adapter import Array, Task, Tensors
from paribus.architectures import Network
from paribus.errors import WeightsError
from paribus.optimizers import RULES

Copy = Callable[[Array], Any]  # to the device, in the parameter dtype


class State(NamedTuple):
    """All canonical tensors, and by name of a trainable one its slots in the rule's order."""

    weights: Mapping[str, Any]
    slots: Mapping[str, tuple[Any, ...]]


def initial(network: Network, task: Task, tensors: Tensors, copy: Copy) -> State:
    """Return the state that training begins with; every slot is zero.

    Raises:
        WeightsError: tensors that do not fit the network.
    """
    weights.check(tensors, weights.shapes(network))
    slots = RULES[task.rule].slots
    return State(
        {name: copy(tensors[name]) for name in network.tensors},
        {name: tuple(copy(np.zeros_like(tensors[name])) for _ in slots) for name in task.trainable},
    )


def with_slots(
    state: State, network: Network, task: Task, slots: Mapping[str, Tensors], copy: Copy
) -> State:
    """Return the state with other slots.

    Raises:
        WeightsError: not the rule's slots, or not the trainable tensors'.
    """
    names = RULES[task.rule].slots
    if set(slots) != set(names):
        raise WeightsError(
            f"optimizer state has slots {sorted(slots)}; rule {task.rule!r} has {sorted(names)}"
        )
    shapes = {name: network.tensors[name].shape for name in task.trainable}
    for name in names:
        weights.check(slots[name], shapes, f"optimizer slot {name!r}")
    placed = {name: tuple(copy(slots[slot][name]) for slot in names) for name in task.trainable}
    return State(state.weights, placed)


def exported(tensors: Mapping[str, Any], network: Network) -> dict[str, Array]:
    """Return copies of tensors in canonical order."""
    return {name: np.array(tensors[name]) for name in network.tensors}


def exported_slots(state: State, task: Task) -> dict[str, dict[str, Array]]:
    """Return copies of the slots, by slot and name."""
    return {
        slot: {name: np.array(state.slots[name][index]) for name in task.trainable}
        for index, slot in enumerate(RULES[task.rule].slots)
    }
