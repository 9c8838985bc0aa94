"""What nodes compute inside of a native module, seen through forward hooks.

A ``GraphModule`` has a module per node. A published model is somebody else's: of it a node is seen
where one module's output is the node's output, which holds for the module that owns the weights of
a product or a norm, and for a module of an element-wise operation that has the node's own name and
is called once. What is called twice, or is a function and no module, stays unseen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from torch import Tensor, nn

from paribus.adapter import Array
from paribus.architectures import Network, Node
from paribus.backends.torch.graph import GraphModule
from paribus.native.network import GIVEN

# Operations whose weights belong to the module that computes the whole node.
OWNED = frozenset(("conv2d", "batch_norm", "linear", "layer_norm", "token_embedding"))
# Operations without weights: a module of this class and of the node's name computes the node.
PLAIN: Mapping[str, tuple[type[nn.Module], ...]] = {
    "relu": (nn.ReLU,),
    "relu6": (nn.ReLU6,),
    "tanh": (nn.Tanh,),
    "gelu": (nn.GELU,),
    "max_pool2d": (nn.MaxPool2d,),
    "adaptive_avg_pool2d": (nn.AdaptiveAvgPool2d,),
    "flatten": (nn.Flatten,),
}


class Observed:
    """Collects activations batch by batch while its hooks are set.

    Args:
        network: whose nodes are looked for.
        module: the native module.
        names: canonical tensor name → names in the module's state dict (``Model.names``).
    """

    def __init__(
        self, network: Network, module: nn.Module, names: Mapping[str, tuple[str, ...]]
    ) -> None:
        self._network = network
        parts = module.modules()
        self._graph = next((part for part in parts if isinstance(part, GraphModule)), None)
        self._modules = _modules(network, module, names, self._graph)
        self._calls: Counter[str] = Counter()
        self._now: dict[str, Array] = {}
        self._batches: list[dict[str, Array]] = []

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Watch the modules' outputs."""
        with ExitStack() as stack:
            if self._graph is not None:
                self._graph.in_order = True
                stack.callback(setattr, self._graph, "in_order", False)
            for name, module in self._modules.items():
                stack.callback(module.register_forward_hook(self._hook(name)).remove)
            yield

    def batch(self, outputs: Tensor) -> None:
        """Note that a batch is done; ``outputs`` are the network's."""
        whole = {
            node.name: self._now[node.name]
            for node in self._network.nodes
            if self._calls[node.name] == 1
            and node.name in self._now
            and _fits(node, self._now[node.name])
        }
        last = self._network.nodes[-1]
        if last.op != "native":
            whole[last.name] = _array(outputs)
        else:
            # What the user's own code does after its last module is not that module's.
            given = [name + GIVEN for name in whole if name + GIVEN in self._now]
            whole |= {name: self._now[name] for name in given}
        self._batches.append(whole)
        self._calls.clear()
        self._now.clear()

    def values(self) -> dict[str, Array]:
        """Return the activations of all batches, by node name in the network's order."""
        seen = set(self._batches[0]).intersection(*self._batches)
        order = [node.name + what for node in self._network.nodes for what in ("", GIVEN)]
        return {
            name: np.concatenate([batch[name] for batch in self._batches])
            for name in order
            if name in seen
        }

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            self._calls[name] += 1
            # torchvision's attention returns its weights, too.
            value = output[0] if isinstance(output, tuple) else output
            if isinstance(value, Tensor):
                # A copy, now: the next module may write into this one's memory.
                self._now[name] = _array(value)
                if inputs and isinstance(inputs[0], Tensor):
                    self._now[name + GIVEN] = _array(inputs[0])

        return note


def _modules(
    network: Network,
    module: nn.Module,
    names: Mapping[str, tuple[str, ...]],
    graph: GraphModule | None,
) -> dict[str, nn.Module]:
    """Return the modules whose output is a node's, by the node's name."""
    parts = dict(module.named_modules())
    if graph is not None:
        return {node.name: graph.get_submodule(node.name) for node in network.nodes}
    found: dict[str, nn.Module] = {}
    for node in network.nodes:
        own = parts.get(node.name)
        if node.op in OWNED:
            found[node.name] = parts[names[f"{node.name}.weight"][0].rpartition(".")[0]]
        elif node.op == "attention":
            # As one module where it is one; else its last product is a module of its own.
            last = names[f"{node.name}.out_proj.weight"][0].rpartition(".")[0]
            whole = isinstance(own, nn.MultiheadAttention)
            found[node.name] = own if own is not None and whole else parts[last]
        elif (node.op == "native" and own is not None) or isinstance(own, PLAIN.get(node.op, ())):
            found[node.name] = own
    return found


def _fits(node: Node, value: Array) -> bool:
    """Whether an output can be the node's: texts may be shorter than the longest one."""
    if node.op == "native":
        return True
    shape = value.shape[1:]
    varies = len(node.shape) == 2
    return len(shape) == len(node.shape) and (
        shape[-1] == node.shape[-1] if varies else shape == node.shape
    )


def _array(value: Tensor) -> Array:
    return np.array(value.detach().float().cpu().numpy() if value.dtype.itemsize < 4 else
                    value.detach().cpu().numpy(), order="C")  # fmt: skip
