"""A network cut in two where what is frozen ends: a body that is computed once, a tail that trains.

The body is every node that training can neither change nor disturb, up to one node, the boundary,
through which everything that the tail reads of it has to pass. It is then a function of the example
alone. Names, layouts and shapes of tensors are those of the whole network.

A body's output is the tail's input, so ``Session.predict`` and ``forward`` of a body return
examples as ``Session.put`` takes them: images channels last. A sequence of tokens goes over as an
image of one column, which the tail's first node turns into tokens again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from paribus.architectures.network import INPUT, TARGETS, Network, Node, Tensor

Side = Literal["body", "tail"]


@dataclass(frozen=True)
class Part(Network):
    """One side of a cut; it has no published model, so an adapter executes its nodes.

    ``architecture``, ``parameters`` and ``objective`` are the whole network's; ``part`` tells a
    part from it. A body's ``classes`` are the first axis of its output.

    Attributes:
        whole: the network that was cut.
        side: which part of it this is; boundary: the last node of the body.
    """

    whole: Network = field(kw_only=True)
    side: Side = field(kw_only=True)
    boundary: str = field(kw_only=True)

    @property
    def part(self) -> str:
        """Which part of its architecture this is."""
        return f"{self.side}:{self.boundary}"


@dataclass(frozen=True)
class Cut:
    """A network in two parts."""

    whole: Network
    body: Part
    tail: Part

    @property
    def boundary(self) -> Node:
        """The body's last node, whose output the tail reads."""
        return self.body.nodes[-1]

    @property
    def read_by_products(self) -> bool:
        """Whether only products read the boundary: they round what they read to their precision.

        Anything else would compute in the precision that it is given.
        """
        readers = {n.op for n in self.whole.nodes if self.boundary.name in n.inputs}
        return readers <= {"conv2d", "linear"}


def cut(network: Network, trainable: Collection[str]) -> Cut | None:
    """Cut a network at the last boundary below everything that trains.

    Args:
        network: a whole one.
        trainable: canonical names of the free parameters.

    Returns:
        None where nothing that multiplies is below a boundary: then nothing is worth keeping.
    """
    fixed = _fixed(network, frozenset(trainable))
    for place in reversed(range(len(network.nodes))):
        name = network.nodes[place].name
        if name in fixed and (found := _cut_at(network, name)) is not None:
            return found if found.body.tensors else None
    return None


def part(whole: Network, side: Side, boundary: str) -> Part:
    """Return one part of a network by the name of its boundary.

    Raises:
        ValueError: no such node, or the network cannot be cut there.
    """
    found = _cut_at(whole, boundary) if boundary in whole.node else None
    if found is None or side not in ("body", "tail"):
        raise ValueError(f"{whole.architecture} has no {side} at {boundary!r}")
    return found.body if side == "body" else found.tail


def _fixed(network: Network, trainable: frozenset[str]) -> set[str]:
    """Return the nodes whose output training leaves as it is, whatever the step."""
    moving = {network.tensors[name].node for name in trainable} | set(network.noisy)
    moving |= {node.name for node in network.nodes if node.shares in trainable}
    fixed = {INPUT}
    for node in network.nodes:
        if node.op != "native" and node.name not in moving and fixed.issuperset(node.inputs):
            fixed.add(node.name)
    return fixed


def _cut_at(network: Network, boundary: str) -> Cut | None:
    """Cut at a node, if the rest reads its output alone, and no input of the network."""
    inside = _upstream(network, boundary)
    inner = tuple(node for node in network.nodes if node.name in inside)
    outer = tuple(node for node in network.nodes if node.name not in inside)
    crossing = {
        source
        for node in outer
        for source in (*node.inputs, *((network.tensors[node.shares].node,) if node.shares else ()))
        if source in inside or source in (INPUT, TARGETS)
    }
    if crossing != {boundary} or any(TARGETS in node.inputs for node in inner):
        return None
    shape = network.node[boundary].shape
    first: tuple[Node, ...] = ()
    entrance = INPUT
    if len(shape) == 2:
        last = network.node[boundary]
        entrance = f"{boundary}.tokens"
        first = (Node(entrance, "tokens", (INPUT,), last.stage, shape),)
        shape = (shape[1], shape[0], 1)
    body = Part(
        network.architecture, network.parameters, network.input_shape, shape[0], inner,
        _tensors(network, inside), network.objective, whole=network, side="body",
        boundary=boundary,
    )  # fmt: skip
    renamed = tuple(
        Node(n.name, n.op, tuple(entrance if s == boundary else s for s in n.inputs), n.stage,
             n.shape, n.attributes, n.shares)
        for n in outer
    )  # fmt: skip
    rest = _tensors(network, {node.name for node in outer})
    tail = Part(
        network.architecture, network.parameters, shape, network.classes, (*first, *renamed), rest,
        network.objective, whole=network, side="tail", boundary=boundary,
    )  # fmt: skip
    return Cut(network, body, tail)


def _upstream(network: Network, boundary: str) -> set[str]:
    found = {boundary}
    for node in reversed(network.nodes):
        if node.name in found:
            found.update(node.inputs)
    return found - {INPUT, TARGETS}


def _tensors(network: Network, nodes: Collection[str]) -> Mapping[str, Tensor]:
    return {name: tensor for name, tensor in network.tensors.items() if tensor.node in nodes}


def why_not(network: Network, trainable: Collection[str]) -> str:
    """Return why ``cut`` found nothing to keep, as a clause."""
    fixed, free = (
        _fixed(network, frozenset(trainable)),
        {network.tensors[n].node for n in trainable},
    )
    for name in network.noisy:
        if name not in free and fixed.issuperset(network.node[name].inputs):
            return f"{name!r} drops values of it in every step"
    if network.reads_tokens:
        return "what is free reads the texts' tokens too, not only what is frozen below it"
    return "what is frozen is too little to be worth it"
