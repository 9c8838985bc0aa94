"""Networks as ``torch.nn.Module``: the published model where there is one, else the nodes.

A user who leaves paribus should hold what the framework's community uses, so the published
architectures are torchvision's. For everything else one interpreter executes the nodes
(``paribus.backends.torch.graph``).

Modules are built on the meta device: core draws the initial weights, so drawing them here as well
would be time for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from paribus.architectures import Network
from paribus.architectures.vit import sizes
from paribus.backends.torch.graph import GraphModule, graph_names, graph_outputs, part_outputs
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
