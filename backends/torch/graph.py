"""A network's nodes as one ``torch.nn.Module`` under canonical module names.

It executes whatever operations ``OPERATIONS`` has; a new architecture in core needs no line here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, cast

from torch import Tensor, nn

from paribus.architectures import INPUT, TARGETS, Network, Node
from paribus.backends.torch.layers import OPERATIONS, Add


@dataclass(frozen=True)
class _Call:
    """A module's turn: what it reads, whose parameter it shares, and what its output is kept as.

    The module is named part by part: its whole name takes as long to look up as a small layer.
    """

    module: tuple[str, ...]
    inputs: tuple[str, ...]
    shares: str
    name: str


class GraphModule(nn.Module):
    """Executes a network's nodes; ``graph_names`` has the names of its state.

    Attributes:
        in_order: whether every module computes its own node. If not, a rectifier before a
            max-pooling follows it: the largest of rectified values is the largest value, rectified,
            and the gradient goes to the same place, so that all bits are the same, for less work.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.in_order = False
        self._plain = [_Call(_path(node.name), node.inputs, node.shares, node.name)
                       for node in network.nodes]  # fmt: skip
        pooled = _pooled(network)
        turned = pooled | {pool: rectifier for rectifier, pool in pooled.items()}
        self._pooled_first = [replace(call, module=_path(turned.get(call.name, call.name)))
                              for call in self._plain]  # fmt: skip
        last = {source: node.name for node in network.nodes for source in node.inputs}
        # What a node is the last to read is dropped after it, so that an evaluation holds no more
        # than a hand-written forward pass would.
        self._done = {
            node.name: [source for source in set(node.inputs) if last[source] == node.name]
            for node in network.nodes
        }
        # A node may be called like the folder of another: it comes first, as the parent.
        for node in sorted(network.nodes, key=lambda node: node.name.count(".")):
            parent: nn.Module = self
            *path, leaf = node.name.split(".")
            for part in path:
                if part not in parent._modules:
                    parent.add_module(part, nn.Module())
                parent = parent.get_submodule(part)
            parent.add_module(leaf, OPERATIONS[node.op](node))
        for name in _in_place(network):
            cast(nn.ReLU, self.get_submodule(name)).inplace = True
        for name, over in _summed_in_place(network).items():
            cast(Add, self.get_submodule(name)).over = over

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """Return the last node's output; see ``Model.logits``."""
        values: dict[str, Any] = {INPUT: x, TARGETS: positions}
        output = x
        for call in self._plain if self.in_order else self._pooled_first:
            given = [values[source] for source in call.inputs]
            given += [self.get_parameter(call.shares)] if call.shares else []
            module: Any = self
            for part in call.module:
                module = module._modules[part]
            output = module(*given)
            for source in self._done[call.name]:
                del values[source]
            values[call.name] = output
        return output


def _path(name: str) -> tuple[str, ...]:
    return tuple(name.split("."))


def _pooled(network: Network) -> dict[str, str]:
    """Return the rectifiers that nothing but a max-pooling reads, each with that pooling."""
    readers = Counter(source for node in network.nodes for source in node.inputs)
    return {
        before.name: node.name
        for node in network.nodes
        if node.op == "max_pool2d"
        and (before := network.node.get(node.inputs[0])) is not None
        and before.op in RECTIFIERS
        and readers[before.name] == 1
    }


def pooled_first(network: Network) -> list[Node]:
    """Return the nodes of a chain with rectifiers behind the max-pooling that follows them."""
    pooled, nodes = _pooled(network), list(network.nodes)
    for at, (node, after) in enumerate(pairwise(network.nodes)):
        if pooled.get(node.name) == after.name:
            nodes[at : at + 2] = after, node
    return nodes


RECTIFIERS = ("relu", "relu6")
# Their gradients read their inputs alone, so that what they return may be overwritten.
OVERWRITTEN = frozenset(("conv2d", "batch_norm", "linear", "add"))


def _overwritable(network: Network) -> set[str]:
    """Return the nodes whose outputs the one node that reads them may write over."""
    readers = Counter(source for node in network.nodes for source in node.inputs)
    return {n.name for n in network.nodes if n.op in OVERWRITTEN and readers[n.name] == 1}


def _in_place(network: Network) -> list[str]:
    """Return the rectifiers that may write over what they read, as torchvision's do."""
    free = _overwritable(network)
    return [n.name for n in network.nodes if n.op in RECTIFIERS and n.inputs[0] in free]


def _summed_in_place(network: Network) -> dict[str, int]:
    """Return the sums that may be written over one of what they add, and which one that is."""
    free = _overwritable(network)
    return {
        node.name: [source in free for source in node.inputs].index(True)
        for node in network.nodes
        if node.op == "add" and not free.isdisjoint(node.inputs)
    }


def graph_names(network: Network) -> dict[str, tuple[str, ...]]:
    """Return the names in a ``GraphModule``'s state dict: the canonical ones.

    A tensor that has its node's own name is the node's ``value``.
    """
    return {
        name: (name if name != tensor.node else f"{name}.value",)
        for name, tensor in network.tensors.items()
    }


def graph_outputs(module: nn.Module, x: Tensor, positions: Tensor | None) -> Tensor:
    """Return a ``GraphModule``'s outputs."""
    outputs: Tensor = module(x, positions)
    return outputs


def part_outputs(module: nn.Module, x: Tensor, positions: Tensor | None) -> Tensor:
    """Return the outputs of a part of a network; images as [b, H, W, C], as they are put."""
    outputs = graph_outputs(module, x, positions)
    return outputs.permute(0, 2, 3, 1) if outputs.ndim == 4 else outputs
