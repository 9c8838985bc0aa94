"""Networks as ``transformers.PreTrainedModel``: the published class, else one around the nodes.

ResNets and vision transformers are transformers' own, reached through tables of names. An
architecture that transformers does not have, or computes otherwise (its MobileNetV2 pads
differently), becomes ``ParibusForImageClassification``, which saves, loads and trains like any
other: its configuration holds the four JSON values that rebuild the network, never code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    PretrainedConfig,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)
from transformers.modeling_outputs import ImageClassifierOutput

from paribus import architectures
from paribus.architectures import Network
from paribus.architectures.resnet import DEPTHS
from paribus.architectures.vit import EPSILON, sizes
from paribus.backends.torch.models import GraphModule, Model, graph_names
from paribus.errors import Unsupported

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


class ParibusConfig(PretrainedConfig):  # type: ignore[misc]
    """A network of paribus: ``architectures.build`` of these values is the network."""

    model_type = "paribus"

    def __init__(
        self,
        architecture: str = "mlp",
        parameters: Mapping[str, Any] | None = None,
        input_shape: tuple[int, ...] = (1, 28, 28),
        **kwargs: Any,
    ) -> None:
        self.architecture = architecture
        self.parameters = dict(parameters or {})
        self.input_shape = list(input_shape)
        super().__init__(**kwargs)


class ParibusForImageClassification(PreTrainedModel):  # type: ignore[misc]
    """A ``GraphModule`` with the interface of transformers' image classifiers."""

    config_class = ParibusConfig
    base_model_prefix = "network"
    main_input_name = "pixel_values"

    def __init__(self, config: ParibusConfig) -> None:
        super().__init__(config)
        shape = tuple(config.input_shape)
        self.network = GraphModule(
            architectures.build(config.architecture, config.parameters, shape, config.num_labels)
        )
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> ImageClassifierOutput | tuple[Tensor, ...]:
        """Return logits [b, C] for inputs [b, C, H, W] or [b, features], and the loss of labels."""
        logits = self.network(pixel_values)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        if return_dict is False:
            return (logits,) if loss is None else (loss, logits)
        return ImageClassifierOutput(loss=loss, logits=logits)


AutoConfig.register(ParibusConfig.model_type, ParibusConfig)
AutoModelForImageClassification.register(ParibusConfig, ParibusForImageClassification)


def build(network: Network) -> Model:
    """Return transformers' own model where its arithmetic is the same, else a wrapped one."""
    module: nn.Module
    names: dict[str, tuple[str, ...]]
    with torch.device("meta"):
        if network.architecture in DEPTHS:
            module = ResNetForImageClassification(_resnet_config(network))
            names = {name: (_resnet_name(name),) for name in network.tensors}
        elif network.architecture.startswith("vit"):
            module = ViTForImageClassification(_vit_config(network))
            names = {name: _vit_names(name) for name in network.tensors}
        else:
            config = ParibusConfig(network.architecture, network.parameters, network.input_shape,
                                   num_labels=network.classes)  # fmt: skip
            module = ParibusForImageClassification(config)
            names = {
                name: tuple(f"network.{part}" for part in parts)
                for name, parts in graph_names(network).items()
            }
    _check_names(module, names)
    return Model(module, names, _call, _save)


def _check_names(module: nn.Module, names: Mapping[str, tuple[str, ...]]) -> None:
    """Require that the tables fit the transformers that is installed; names change there."""
    state = module.state_dict()
    missing = [part for parts in names.values() for part in parts if part not in state]
    if missing:
        raise Unsupported(
            f"transformers {transformers.__version__} has no {missing[0]!r} in "
            f"{type(module).__name__}; paribus knows the names of transformers 5. "
            "Install it: pip install -U transformers"
        )


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
        layer_norm_eps=EPSILON,
        qkv_bias=True,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=0.0,
        num_labels=network.classes,
    )


def _vit_names(canonical: str) -> tuple[str, ...]:
    for pattern, natives in VIT_NAMES:
        match = re.fullmatch(pattern, canonical)
        if match:
            return tuple(native.format(**match.groupdict()) for native in natives)
    raise KeyError(f"{canonical!r} has no name in transformers' ViT")


def _call(module: nn.Module, x: Tensor) -> Tensor:
    logits: Tensor = module(x).logits
    return logits


def _save(module: nn.Module, folder: Path) -> Path:
    assert isinstance(module, PreTrainedModel)
    module.save_pretrained(folder)
    return folder
