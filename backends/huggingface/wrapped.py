"""Models of transformers' kind around a network's nodes, where transformers has none like it.

They save, load and train like any other: their configuration holds the five JSON values that
rebuild the network, never code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import ImageClassifierOutput, SequenceClassifierOutput

from paribus import architectures
from paribus.architectures import Network, Objective
from paribus.backends.torch.graph import GraphModule, graph_names


class ParibusConfig(PretrainedConfig):  # type: ignore[misc]
    """A network of paribus: ``architectures.build`` of these values is the network."""

    model_type = "paribus"

    def __init__(
        self,
        architecture: str = "mlp",
        parameters: Mapping[str, Any] | None = None,
        input_shape: tuple[int, ...] = (1, 28, 28),
        objective: Objective = "classification",
        **kwargs: Any,
    ) -> None:
        self.architecture = architecture
        self.parameters = dict(parameters or {})
        self.input_shape = list(input_shape)
        self.objective = objective
        super().__init__(**kwargs)


class _Wrapped(PreTrainedModel):  # type: ignore[misc]
    config_class = ParibusConfig
    base_model_prefix = "network"

    def __init__(self, config: ParibusConfig) -> None:
        super().__init__(config)
        self.network = GraphModule(
            architectures.build(
                config.architecture,
                config.parameters,
                tuple(config.input_shape),
                config.num_labels,
                config.objective,
            )
        )
        self.post_init()

    def _loss(self, outputs: Tensor, labels: Tensor | None) -> Tensor | None:
        if labels is None:
            return None
        if self.config.objective == "regression":
            return F.mse_loss(outputs, labels.view_as(outputs).to(outputs.dtype))
        return F.cross_entropy(outputs, labels)


class ParibusForImageClassification(_Wrapped):
    """A ``GraphModule`` with the interface of transformers' image classifiers."""

    main_input_name = "pixel_values"

    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> ImageClassifierOutput | tuple[Tensor, ...]:
        """Return logits [b, C] for inputs [b, C, H, W] or [b, features], and the loss of labels."""
        logits = self.network(pixel_values)
        loss = self._loss(logits, labels)
        if return_dict is False:
            return (logits,) if loss is None else (loss, logits)
        return ImageClassifierOutput(loss=loss, logits=logits)


class ParibusForSequenceClassification(_Wrapped):
    """A ``GraphModule`` with the interface of transformers' classifiers of texts."""

    main_input_name = "input_ids"

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput | tuple[Tensor, ...]:
        """Return outputs [b, C] for token numbers [b, T], and the loss of labels."""
        tokens = input_ids
        if attention_mask is not None:
            tokens = tokens.masked_fill(attention_mask == 0, -1)
        if token_type_ids is not None:
            tokens = tokens.new_empty((*tokens.shape, 2)).copy_(
                nn.functional.pad(tokens.unsqueeze(-1), (0, 1))
            )
            tokens[..., 1] = token_type_ids
        logits = self.network(tokens)
        loss = self._loss(logits, labels)
        if return_dict is False:
            return (logits,) if loss is None else (loss, logits)
        return SequenceClassifierOutput(loss=loss, logits=logits)


AutoConfig.register(ParibusConfig.model_type, ParibusConfig)
AutoModelForImageClassification.register(ParibusConfig, ParibusForImageClassification)
AutoModelForSequenceClassification.register(ParibusConfig, ParibusForSequenceClassification)


def module(network: Network) -> PreTrainedModel:
    """Return a wrapped model of any network."""
    config = ParibusConfig(
        network.architecture, network.parameters, network.input_shape, network.objective,
        num_labels=network.classes,
    )  # fmt: skip
    kind = (
        ParibusForSequenceClassification if network.reads_tokens else ParibusForImageClassification
    )
    return kind(config)


def names(network: Network) -> dict[str, tuple[str, ...]]:
    """Return the names in the model's state dict."""
    return {
        name: tuple(f"network.{part}" for part in parts)
        for name, parts in graph_names(network).items()
    }


def dropped(network: Network) -> dict[str, str]:
    """Return which module each noisy node is."""
    return {name: f"network.{name}" for name in network.noisy}


def outputs(module: nn.Module, x: Tensor, positions: Tensor | None) -> Tensor:
    """Return outputs; see ``paribus.backends.torch.models.Model.logits``."""
    assert isinstance(module, _Wrapped)
    found: Tensor = module.network(x, positions)
    return found
