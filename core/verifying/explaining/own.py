"""Where and why two models of the user's own part, of which core knows modules and no operations.

A module whose input agrees and whose output does not is looked at by itself: where core has a
definition like it, the changed definitions that explain any other network are tried on it. If its
input differs already, it is what stands between the modules: an activation, or the order in which
a picture is flattened. What cannot be computed again is told by what the modules declare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import erf, expit

from paribus.adapter import Array
from paribus.architectures import Node
from paribus.native.network import GIVEN
from paribus.native.pairs import Pair
from paribus.plan import TrainPlan
from paribus.verifying import distances
from paribus.verifying.explaining.explanation import Explanation, Guess, explain
from paribus.verifying.explaining.forward import Stretch, explain_output
from paribus.verifying.explaining.moments import explain_statistics
from paribus.verifying.tolerances import ACTIVATION

Activations = Mapping[str, Array]
ONE = "input"
# √½ as TensorFlow's own GELU has it, also in float64.
SINGLE = float(np.float32(np.sqrt(0.5)))

FUNCTIONS: Mapping[str, Callable[[Array], Array]] = {
    "nothing": lambda x: x,
    "ReLU": lambda x: np.maximum(x, 0.0),
    "ReLU6": lambda x: np.clip(x, 0.0, 6.0),
    "tanh": np.tanh,
    "the sigmoid": expit,
    "SiLU": lambda x: x * expit(x),
    "the exact GELU": lambda x: 0.5 * x * (1.0 + erf(x / np.sqrt(2.0))),
    "the exact GELU with √½ in single precision": lambda x: 0.5 * x * (1.0 + erf(x * SINGLE)),
    "the tanh approximation of GELU": lambda x: (
        0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))
    ),
    "LeakyReLU with slope 0.01": lambda x: np.where(x > 0, x, 0.01 * x),
    "LeakyReLU with slope 0.2": lambda x: np.where(x > 0, x, 0.2 * x),
    "LeakyReLU with slope 0.3": lambda x: np.where(x > 0, x, 0.3 * x),
    "ELU": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0.0))),
}


@dataclass(frozen=True)
class Parted:
    """A node of two models whose outputs differ.

    Attributes:
        pair: the models.
        node: its name.
        agreed: the nodes before it that agree, with their outputs.
        ours, theirs: all activations of both, with what modules were given.
        weights: canonical; training: the mode.
    """

    pair: Pair
    node: str
    agreed: Mapping[str, Array]
    ours: Activations
    theirs: Activations
    weights: Mapping[str, Array]
    training: bool

    def explanation(self) -> Explanation | None:
        """Return what was computed otherwise, where that can be told by computing it again."""
        key = f"{self.node}{GIVEN}"
        if key not in self.ours or key not in self.theirs:
            return None
        ours, theirs = self.ours[key], self.theirs[key]
        if ours.shape == theirs.shape and distances.array(ours, theirs) <= ACTIVATION:
            return self._inside(ours)
        return explain({ONE: theirs}, {ONE: ours}, self._on_the_way(ours, theirs))

    def hints(self) -> tuple[str, ...]:
        """Return what the modules declare otherwise."""
        before = list(self.agreed)[-1] if self.agreed else ""
        return tuple(self.pair.declared(self.node, before))

    def _inside(self, given: Array) -> Explanation | None:
        network = self.pair.node(self.node, tuple(given.shape[1:]))
        if network is None:
            return None
        tensors = self.pair.tensors(self.node, self.weights)
        stretch = Stretch(network, tensors, {}, given, None, self.node, self.training, ())
        if distances.array(self.ours[self.node], stretch.output()) > ACTIVATION:
            # The module is not what it declares; a subclass may be anything.
            return None
        return explain_output(stretch, self.theirs[self.node], ...)

    def _on_the_way(self, ours: Array, theirs: Array) -> Iterator[Guess]:
        first, second = self.pair.names
        for name, value in reversed(list(self.agreed.items())):
            where = f"between {name} and {self.node}"
            if value.ndim == 4 and ours.ndim == 2 and ours.shape[1] == value[0].size:
                shape = value.shape[1:]
                moved = ours.reshape(-1, *shape).transpose(0, 2, 3, 1).reshape(ours.shape)
                yield Guess(
                    f"{where} {second} flattens pictures of {shape} in the order (height, width, "
                    f"channels), {first} in the order (channels, height, width): permute before "
                    f"flattening, or read the weight of {self.node} in native.names with "
                    f'"view": [outputs, {", ".join(map(str, shape))}], "axes": [2, 3, 1, 0]',
                    {ONE: moved},
                )
            if value.shape != ours.shape:
                continue
            done = next((n for n, f in FUNCTIONS.items() if _same(f(value), ours)), None)
            if done is None:
                return
            for other, function in FUNCTIONS.items():
                yield Guess(
                    f"{where} {first} computes {done}, {second} computes {other}",
                    {ONE: function(value)},
                )
            return


def explain_own_statistics(
    pair: Pair,
    plan: TrainPlan,
    before: Mapping[str, Array],
    right: Mapping[str, Array],
    actual: Mapping[str, Array],
    outputs: Activations,
) -> Explanation | None:
    """Return what BatchNorms of the user's own models update their statistics with instead.

    Args:
        pair: the models; plan: of one step; outputs: activations, for the number of values.
        before, right, actual: statistics before the step, after it by the reference and by the
            other, by canonical name.
    """
    nodes: list[Node] = []
    values: list[dict[str, Any]] = [{}, {}, {}]
    for node in pair.network.nodes:
        network = pair.node(node.name, ()) if node.name in outputs else None
        if network is None or network.nodes[0].op != "batch_norm":
            continue
        nodes.append(replace(network.nodes[0], shape=tuple(outputs[node.name].shape[1:])))
        for found, given in zip(values, (before, right, actual), strict=True):
            found |= pair.tensors(node.name, given)
    if not nodes:
        return None
    network = replace(pair.network, nodes=tuple(nodes))
    return explain_statistics(network, plan, *values)


def _same(left: Array, right: Array) -> bool:
    return distances.array(left, right) <= ACTIVATION
