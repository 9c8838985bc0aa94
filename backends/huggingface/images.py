"""ResNets and vision transformers as transformers' own classes, through tables of names."""

from __future__ import annotations

import re

from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from paribus.architectures import Network
from paribus.architectures.resnet import DEPTHS
from paribus.architectures.vit import sizes

_BLOCK = r"layer(?P<layer>[1-4])\.(?P<block>\d+)\."

# Canonical module name → transformers' module name; numbers count from 1 there and from 0 here.
RESNET_NAMES: tuple[tuple[str, str], ...] = (
    (r"conv1", "resnet.embedder.embedder.convolution"),
    (r"bn1", "resnet.embedder.embedder.normalization"),
    (_BLOCK + r"conv(?P<conv>[1-3])", "{block}.layer.{conv}.convolution"),
    (_BLOCK + r"bn(?P<conv>[1-3])", "{block}.layer.{conv}.normalization"),
    (_BLOCK + r"downsample\.0", "{block}.shortcut.convolution"),
    (_BLOCK + r"downsample\.1", "{block}.shortcut.normalization"),
    (r"fc", "classifier.1"),
)


# Its attention keeps queries, keys and values apart.
_LAYER = r"encoder\.layers\.encoder_layer_(?P<layer>\d+)\."
VIT_NAMES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"class_token", ("vit.embeddings.cls_token",)),
    (r"encoder\.pos_embedding", ("vit.embeddings.position_embeddings",)),
    (r"conv_proj\.(?P<leaf>\w+)", ("vit.embeddings.patch_embeddings.projection.{leaf}",)),
    (_LAYER + r"ln_1\.(?P<leaf>\w+)", ("vit.layers.{layer}.layernorm_before.{leaf}",)),
    (_LAYER + r"ln_2\.(?P<leaf>\w+)", ("vit.layers.{layer}.layernorm_after.{leaf}",)),
    (
        _LAYER + r"self_attention\.in_proj_(?P<leaf>\w+)",
        tuple("vit.layers.{layer}.attention." + f"{part}_proj." + "{leaf}" for part in "qkv"),
    ),
    (
        _LAYER + r"self_attention\.out_proj\.(?P<leaf>\w+)",
        ("vit.layers.{layer}.attention.o_proj.{leaf}",),
    ),
    (_LAYER + r"mlp\.0\.(?P<leaf>\w+)", ("vit.layers.{layer}.mlp.fc1.{leaf}",)),
    (_LAYER + r"mlp\.3\.(?P<leaf>\w+)", ("vit.layers.{layer}.mlp.fc2.{leaf}",)),
    (r"encoder\.ln\.(?P<leaf>\w+)", ("vit.layernorm.{leaf}",)),
    (r"heads\.head\.(?P<leaf>\w+)", ("classifier.{leaf}",)),
)

VIT_DROPPING: tuple[tuple[str, str], ...] = (
    (r"encoder\.dropout", "vit.embeddings.dropout"),
    (_LAYER + r"(self_attention|dropout|stochastic_depth_1)", "vit.layers.{layer}.attention"),
    (_LAYER + r"mlp\.2", "vit.layers.{layer}.mlp.activation_fn"),
    (_LAYER + r"(mlp\.4|stochastic_depth_2)", "vit.layers.{layer}.mlp"),
)


def module(network: Network) -> PreTrainedModel | None:
    """Return transformers' model of a network of images; None where it has none like it."""
    if network.architecture in DEPTHS:
        return ResNetForImageClassification(_resnet_config(network))
    if network.architecture.startswith("vit"):
        return ViTForImageClassification(_vit_config(network))
    return None


def names(network: Network) -> dict[str, tuple[str, ...]]:
    """Return the names in the model's state dict."""
    if network.architecture in DEPTHS:
        return {name: (_resnet_name(name),) for name in network.tensors}
    return {name: _vit_names(name) for name in network.tensors}


def dropped(network: Network) -> dict[str, str]:
    """Return behind which module each noisy node's values are dropped, or which attends.

    Its ViT has one dropout after attention and MLP, and none within the MLP; its ResNet none.
    """
    if network.architecture in DEPTHS:
        return {
            name: _resnet_name(f"{network.node[name].inputs[0]}.weight").rpartition(".")[0]
            for name in network.noisy
        }
    return {name: _vit_place(name) for name in network.noisy}


def outputs(module: nn.Module, x: Tensor, positions: Tensor | None) -> Tensor:
    """Return logits of images; see ``paribus.backends.torch.models.Model.logits``."""
    logits: Tensor = module(x).logits
    return logits


def _resnet_config(network: Network) -> ResNetConfig:
    depths, bottleneck = DEPTHS[network.architecture]
    return ResNetConfig(
        num_channels=network.input_shape[0],
        embedding_size=64,
        hidden_sizes=[width * (4 if bottleneck else 1) for width in (64, 128, 256, 512)],
        depths=list(depths),
        layer_type="bottleneck" if bottleneck else "basic",
        hidden_act="relu",
        downsample_in_first_stage=False,
        downsample_in_bottleneck=False,
        num_labels=network.classes,
    )


def _resnet_name(canonical: str) -> str:
    module, leaf = canonical.rsplit(".", 1)
    for pattern, native in RESNET_NAMES:
        match = re.fullmatch(pattern, module)
        if match:
            part = {key: int(value) for key, value in match.groupdict().items()}
            block = "resnet.encoder.stages.{}.layers.{}".format(
                part.get("layer", 1) - 1, part.get("block", 0)
            )
            return native.format(block=block, conv=part.get("conv", 1) - 1) + f".{leaf}"
    raise KeyError(f"{canonical!r} has no name in transformers' ResNet")


def _vit_config(network: Network) -> ViTConfig:
    size = sizes(network)
    channels, height, width = network.input_shape
    dropout = network.parameters["dropout"]
    return ViTConfig(
        # One number where it says all, as published configurations have it.
        image_size=height if height == width else [height, width],
        patch_size=size.patch,
        num_channels=channels,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        hidden_size=size.hidden,
        intermediate_size=size.mlp,
        hidden_act="gelu" if size.gelu == "exact" else "gelu_pytorch_tanh",
        layer_norm_eps=size.eps,
        qkv_bias=True,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=network.parameters["attention_dropout"],
        num_labels=network.classes,
    )


def _vit_place(canonical: str) -> str:
    for pattern, native in VIT_DROPPING:
        match = re.fullmatch(pattern, canonical)
        if match:
            return native.format(**match.groupdict())
    raise KeyError(f"{canonical!r} has no place in transformers' ViT")


def _vit_names(canonical: str) -> tuple[str, ...]:
    for pattern, natives in VIT_NAMES:
        match = re.fullmatch(pattern, canonical)
        if match:
            return tuple(native.format(**match.groupdict()) for native in natives)
    raise KeyError(f"{canonical!r} has no name in transformers' ViT")
