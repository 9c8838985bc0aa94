"""Networks as ``torch.nn.Module``: the published model where there is one, else the nodes.

A user who leaves paribus should hold what the framework's community uses, so the published
architectures are torchvision's. For everything else one interpreter executes the nodes, under
canonical module names; a new architecture in core needs no line here.

Modules are built on the meta device: core draws the initial weights, so drawing them here as well
would be time for nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from paribus.architectures import INPUT, TARGETS, Network
from paribus.architectures.vit import sizes
from paribus.backends.torch.layers import OPERATIONS
from paribus.backends.torch.noise import Lend
from paribus.backends.torch.tokens import Tokens, lend
from paribus.belongings import Belongings


@dataclass(frozen=True)
class Model:
    """A native module and what the engine has to know about it.

    Attributes:
        module: on the meta device, without values.
        names: canonical tensor name → names in the module's state dict: mostly one; where a model
            keeps as several what is one tensor, those that make it up along the first axis.
        logits: ``(module, inputs, positions)`` → outputs [b, C], or [b, M, C] of language models;
            inputs are [b, C, H, W], [b, features], or token numbers [b, T] or [b, T, 2]; positions
            int64 [b, M] are what a masked language model predicts, None for all.
        save: ``(module, folder, belongings)`` → path of what the framework's users expect.
        prepare: called once the module has memory: makes parameters one again that are shared, and
            fills what a module computes when it is built with memory.
        dropped: noisy node → the module behind which its values are dropped, or that attends;
            those of the node's own name are left out.
        lend: makes an attention module compute with a function (see ``noise.Lend``).
        own: whether it is the user's own code, with values, of which nothing else is known.
        seed: begins the stream of random numbers that the user's own code draws in training.
    """

    module: nn.Module
    names: Mapping[str, tuple[str, ...]]
    logits: Callable[[nn.Module, Tensor, Tensor | None], Tensor]
    save: Callable[[nn.Module, Path, Belongings], Path]
    prepare: Callable[[nn.Module], None] = lambda module: None
    dropped: Mapping[str, str] = field(default_factory=dict)
    lend: Lend = lend
    own: bool = False
    seed: Callable[[int], None] = lambda number: None


@dataclass(frozen=True)
class _Call:
    """A module's turn: what it reads, whose parameter it shares, and what its output is kept as."""

    module: str
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
        self._plain = [_Call(node.name, node.inputs, node.shares, node.name)
                       for node in network.nodes]  # fmt: skip
        pooled = _pooled(network)
        turned = pooled | {pool: rectifier for rectifier, pool in pooled.items()}
        self._pooled_first = [replace(call, module=turned.get(call.module, call.module))
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

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """Return the last node's output; see ``Model.logits``."""
        values: dict[str, Any] = {INPUT: x, TARGETS: positions}
        output = x
        for call in self._plain if self.in_order else self._pooled_first:
            given = [values[source] for source in call.inputs]
            given += [self.get_parameter(call.shares)] if call.shares else []
            output = self.get_submodule(call.module)(*given)
            for source in self._done[call.name]:
                del values[source]
            values[call.name] = output
        return output


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


RECTIFIERS = ("relu", "relu6")
# Their gradients read their inputs alone, so that what they return may be overwritten.
OVERWRITTEN = frozenset(("conv2d", "batch_norm", "linear", "add"))


def _in_place(network: Network) -> list[str]:
    """Return the rectifiers that may write over what they read, as torchvision's do."""
    readers = Counter(source for node in network.nodes for source in node.inputs)
    return [
        node.name
        for node in network.nodes
        if node.op in RECTIFIERS
        and readers[node.inputs[0]] == 1
        and (before := network.node.get(node.inputs[0])) is not None
        and before.op in OVERWRITTEN
    ]


def build(network: Network) -> Model:
    """Return torchvision's model where there is one, a ``GraphModule`` for anything else."""
    with torch.device("meta"):
        module, names = _published(network), _published_names(network)
        if module is None:
            module, names = GraphModule(network), graph_names(network)
            outputs = part_outputs if network.part else graph_outputs
            if network.part and network.nodes[0].op == "tokens":
                parent, _, leaf = network.nodes[0].name.rpartition(".")
                module.get_submodule(parent).add_module(leaf, Tokens(in_order=True))
            return Model(module, names, outputs, save_state_dict)
    return Model(module, names, _call, save_state_dict, dropped=_published_places(network))


def _published_names(network: Network) -> dict[str, tuple[str, ...]]:
    """Return the names in the published model's state dict: the canonical ones."""
    return {name: (name,) for name in network.tensors}


def _published_places(network: Network) -> dict[str, str]:
    """Return behind which module whole examples are dropped; torchvision's have none for it.

    In its ResNet that is the last norm of a block, in its ViT what ends a branch.
    """
    found = {}
    for node in network.nodes:
        if node.op != "stochastic_depth":
            continue
        block, _, kind = node.name.rpartition(".")
        if network.architecture.startswith("vit"):
            found[node.name] = f"{block}.dropout" if kind.endswith("1") else f"{block}.mlp"
        else:
            found[node.name] = node.inputs[0]
    return found


def graph_names(network: Network) -> dict[str, tuple[str, ...]]:
    """Return the names in a ``GraphModule``'s state dict: the canonical ones.

    A tensor that has its node's own name is the node's ``value``.
    """
    return {
        name: (name if name != tensor.node else f"{name}.value",)
        for name, tensor in network.tensors.items()
    }


def save_state_dict(module: nn.Module, folder: Path, belongings: Belongings) -> Path:
    """Write ``model.safetensors``, a state dict that the plain module loads with strict=True."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.safetensors"
    state = {name: tensor.cpu().contiguous() for name, tensor in module.state_dict().items()}
    save_file(state, path, metadata={"format": "pt"})
    return path


def _published(network: Network) -> nn.Module | None:
    """Return torchvision's model, or None where it has none of this architecture and shape."""
    if network.part:
        return None
    for start, make in PUBLISHED:
        if network.architecture.startswith(start):
            return make(network)
    return None


def _resnet(network: Network) -> nn.Module:
    from torchvision.models import get_model

    module: nn.Module = get_model(network.architecture, weights=None, num_classes=network.classes)
    return _fitted(module, network, "conv1")


def _vgg(network: Network) -> nn.Module:
    from torchvision.models import get_model

    module: nn.Module = get_model(
        network.architecture, weights=None, num_classes=network.classes, init_weights=False,
        dropout=network.parameters["dropout"],
    )  # fmt: skip
    linear = ("classifier.0", "classifier.3", "classifier.6")
    return _fitted(module, network, "features.0", "avgpool", *linear)


def _mobilenet_v2(network: Network) -> nn.Module:
    from torchvision.models import MobileNetV2

    module: nn.Module = MobileNetV2(
        network.classes, network.parameters["width"], dropout=network.parameters["dropout"]
    )
    return _fitted(module, network, "features.0.0")


def _vit(network: Network) -> nn.Module | None:
    from torchvision.models import VisionTransformer

    size, (_, height, width) = sizes(network), network.input_shape
    if height != width or size.gelu != "exact":
        # torchvision's takes square images only, and has one activation.
        return None
    module: nn.Module = VisionTransformer(
        height, size.patch, size.layers, size.heads, size.hidden, size.mlp,
        dropout=network.parameters["dropout"],
        attention_dropout=network.parameters["attention_dropout"], num_classes=network.classes,
        norm_layer=partial(nn.LayerNorm, eps=size.eps),
    )  # fmt: skip
    return _fitted(module, network, "conv_proj")


def _fitted(module: nn.Module, network: Network, *names: str) -> nn.Module:
    """Replace layers of torchvision's that this network needs otherwise by what its nodes say.

    The first convolution is always for three channels there; the node knows how many there are.
    """
    for name in names:
        node = network.node[name]
        parent, _, leaf = name.rpartition(".")
        module.get_submodule(parent).add_module(leaf, OPERATIONS[node.op](node))
    return module


# start of the architecture's name → torchvision's model
PUBLISHED: tuple[tuple[str, Callable[[Network], nn.Module | None]], ...] = (
    ("resnet", _resnet),
    ("vgg", _vgg),
    ("mobilenet_v2", _mobilenet_v2),
    ("vit", _vit),
)


def _call(module: nn.Module, x: Tensor, positions: Tensor | None) -> Tensor:
    logits: Tensor = module(x)
    return logits


def graph_outputs(module: nn.Module, x: Tensor, positions: Tensor | None) -> Tensor:
    """Return a ``GraphModule``'s outputs."""
    outputs: Tensor = module(x, positions)
    return outputs


def part_outputs(module: nn.Module, x: Tensor, positions: Tensor | None) -> Tensor:
    """Return the outputs of a part of a network; images as [b, H, W, C], as they are put."""
    outputs = graph_outputs(module, x, positions)
    return outputs.permute(0, 2, 3, 1) if outputs.ndim == 4 else outputs
