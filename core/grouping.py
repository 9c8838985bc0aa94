"""Replicas in groups of one size, for adapters that compile: what is compiled is for that size.

A group has as many replicas as have their weights, slots and activations in a core's cache, where
they stay for all steps of a call. A replica's group and place in it never change, so that its bits
depend on nobody who has a plan or none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, TypeVar

from paribus.adapter import Task
from paribus.architectures import Network
from paribus.optimizers import RULES

# Bytes that the replicas of a group may take.
GROUP_BYTES = 8 << 20
# Rows of a step that its activations are counted for; how many there will be is not known yet.
ROWS = 64
Plan = TypeVar("Plan")


@dataclass(frozen=True)
class Groups:
    """``count`` groups of ``size`` replicas; the last ones of the last group may be nobody's."""

    count: int
    size: int

    @classmethod
    def of(cls, network: Network, task: Task, replicas: int, itemsize: int) -> Groups:
        """Return the groups of replicas of a network, as evenly as can be."""
        parameters = sum(prod(tensor.shape) for tensor in network.tensors.values())
        activations = 2 * ROWS * sum(prod(node.shape) for node in network.nodes)
        each = ((3 + len(RULES[task.rule].slots)) * parameters + activations) * itemsize
        most = max(1, GROUP_BYTES // each)
        count = -(-replicas // most)
        return cls(count, -(-replicas // count))

    def place(self, replica: int) -> tuple[int, int]:
        """Return a replica's group and its place there."""
        return divmod(replica, self.size)

    def members(self, group: int) -> range:
        """Return the replicas of a group, those that are nobody's included."""
        return range(group * self.size, (group + 1) * self.size)

    def asked(
        self, plans: Mapping[int, Plan], kind: Callable[[Plan], Any]
    ) -> list[tuple[int, dict[int, Plan]]]:
        """Return the plans that are one computation: a group's, of one kind, by replica."""
        found: dict[Any, dict[int, Plan]] = {}
        for replica, plan in sorted(plans.items(), key=lambda item: item[0]):
            found.setdefault((self.place(replica)[0], kind(plan)), {})[replica] = plan
        return [(group, own) for (group, _), own in found.items()]
