"""Networks as ``transformers.PreTrainedModel``: the published class, else one around the nodes.

The ResNets are transformers' own, reached through a table of names. An architecture that
transformers does not have becomes ``ParibusForImageClassification``, which saves, loads and trains
like any other: its configuration holds the four JSON values that rebuild the network, never code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    PretrainedConfig,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
)
from transformers.modeling_outputs import ImageClassifierOutput

from paribus import architectures
from paribus.architectures import Network
from paribus.architectures.resnet import DEPTHS
from paribus.backends.torch.models import GraphModule, Model

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
    """Return transformers' model for a ResNet, our ``PreTrainedModel`` for anything else."""
    module: nn.Module
    with torch.device("meta"):
        if network.architecture in DEPTHS:
            module = ResNetForImageClassification(_resnet_config(network))
            names = {name: _resnet_name(name) for name in network.tensors}
        else:
            config = ParibusConfig(network.architecture, network.parameters, network.input_shape,
                                   num_labels=network.classes)  # fmt: skip
            module = ParibusForImageClassification(config)
            names = {name: f"network.{name}" for name in network.tensors}
    return Model(module, names, _call, _save)


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


def _call(module: nn.Module, x: Tensor) -> Tensor:
    logits: Tensor = module(x).logits
    return logits


def _save(module: nn.Module, folder: Path) -> Path:
    assert isinstance(module, PreTrainedModel)
    module.save_pretrained(folder)
    return folder
