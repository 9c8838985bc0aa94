"""Which node of a forward pass went another way, and which changed definition gives its output.

Only what lies between values that agree and the first one that does not is computed again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from paribus import reference
from paribus.adapter import Array
from paribus.architectures import INPUT, TARGETS, Network, Node
from paribus.plan import EvalPlan
from paribus.verifying.explaining.explanation import Explanation, Guess, explain, fitted_epsilon
from paribus.verifying.explaining.places import Compute, Place
from paribus.verifying.explaining.variants import variants

ONE = "output"


class Stretch:
    """The nodes between agreeing values and ``target``.

    Args:
        network: whose nodes they are.
        tensors: canonical, float64.
        known: values that agree, by node name.
        x: the network's inputs, token numbers or preprocessed examples; positions: what a masked
            language model predicts, or None.
        target: the first node whose value differs.
        training: the mode; frozen: BatchNorm nodes that are never in training mode.
    """

    def __init__(
        self,
        network: Network,
        tensors: Mapping[str, Array],
        known: Mapping[str, Array],
        x: Array,
        positions: Array | None,
        target: str,
        training: bool,
        frozen: Collection[str],
    ) -> None:
        self._network, self._target = network, network.node[target]
        self._tensors = {n: np.asarray(a, dtype=np.float64) for n, a in tensors.items()}
        self._training, self._frozen = training, frozen
        self._known: dict[str, Any] = {n: np.asarray(a, dtype=np.float64) for n, a in known.items()}
        self._known |= {INPUT: x, TARGETS: positions}
        self._known.pop(target, None)

    def suspects(self) -> list[Node]:
        """Return the target and the nodes before it whose values nobody saw, nearest first."""
        found: dict[str, Node] = {}
        waiting = [self._target.name]
        while waiting:
            name = waiting.pop(0)
            if name not in found and name not in self._known:
                found[name] = self._network.node[name]
                waiting += found[name].inputs
        return list(found.values())

    def place(self, node: Node) -> Place:
        """Return a node with its tensors and mode."""
        return Place(node, self._tensors, self._training and node.name not in self._frozen)

    def output(self, changed: str = "", compute: Compute | None = None) -> Array:
        """Return the target's value, with the computation of one node replaced."""
        values = dict(self._known)

        def value(name: str) -> Any:
            if name not in values:
                node = self._network.node[name]
                inputs = [value(source) for source in node.inputs]
                use = compute if name == changed and compute else self.place(node).compute
                values[name] = use(inputs)
            return values[name]

        return np.asarray(value(self._target.name))


def inputs_of(network: Network, plan: EvalPlan, x: Array) -> tuple[Array, Array | None]:
    """Return what a network reads of a plan's one batch, and the positions that it predicts."""
    rows = plan.indices[0, : plan.counts[0]]
    if plan.targets is not None:
        tokens = plan.targets.tokens[0, : plan.counts[0]].astype(np.int64)
        return tokens, plan.targets.positions[0, : plan.counts[0]]
    return reference.preprocess(x[rows], plan.preprocess), None


def explain_output(stretch: Stretch, actual: Array, real: Any) -> Explanation | None:
    """Return the changed definition that gives ``actual`` at the target.

    ``real`` indexes the places that are compared (of texts those that are no padding).
    """
    wanted = {ONE: np.asarray(actual, dtype=np.float64)[real]}
    definition = stretch.output()

    def predicted(node: Node, compute: Compute) -> Mapping[str, Array]:
        try:
            found = stretch.output(node.name, compute)
        except ValueError:
            # A hypothesis whose shapes do not work out predicts nothing.
            return {ONE: np.empty(0)}
        return {ONE: found[real] if found.shape == definition.shape else np.empty(0)}

    def with_epsilon(node: Node, epsilon: float) -> Mapping[str, Array]:
        return predicted(node, stretch.place(node).having(eps=epsilon))

    def guesses() -> Iterator[Guess]:
        for node in stretch.suspects():
            place = stretch.place(node)
            for text, compute in variants(place):
                yield Guess(text, predicted(node, compute))
            if "eps" in node.attributes:
                epsilon, found = fitted_epsilon(partial(with_epsilon, node), wanted)
                stated = node.attributes["eps"]
                text = f"{node.name} ({node.op}) has epsilon {epsilon:.4g}, not {stated:g}"
                yield Guess(text, found)
        yield from _scaled(definition[real], wanted[ONE])

    return explain(wanted, {ONE: definition[real]}, guesses())


def _scaled(definition: Array, actual: Array) -> Iterator[Guess]:
    size = float((definition**2).sum())
    if size > 0 and definition.shape == actual.shape:
        factor = float((definition * actual).sum()) / size
        yield Guess(
            f"the output is {factor:.6g} times what it should be", {ONE: factor * definition}
        )
