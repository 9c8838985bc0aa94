"""Each architecture once, as data. A new one is a module here and a line in ``ARCHITECTURES``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args

from pydantic import Field, TypeAdapter

from paribus.architectures.bert import BERT
from paribus.architectures.cnn import CNN
from paribus.architectures.gpt2 import GPT2
from paribus.architectures.mlp import MLP
from paribus.architectures.mobilenet import MobileNetV2
from paribus.architectures.network import (
    HEAD,
    INPUT,
    LANGUAGE,
    TARGETS,
    Initializer,
    Network,
    Node,
    Objective,
    Shape,
    Tensor,
)
from paribus.architectures.parameters import Parameters
from paribus.architectures.resnet import ResNet
from paribus.architectures.vgg import VGG
from paribus.architectures.vit import PublishedViT, ViT
from paribus.errors import SpecError

ModelSection = Annotated[
    Union[MLP, CNN, ResNet, VGG, MobileNetV2, PublishedViT, ViT, BERT, GPT2],  # noqa: UP007
    Field(discriminator="architecture"),
]

ARCHITECTURES: dict[str, type[Parameters]] = {
    name: section
    for section in (MLP, CNN, ResNet, VGG, MobileNetV2, PublishedViT, ViT, BERT, GPT2)
    for name in get_args(section.model_fields["architecture"].annotation)
}

_SECTION: TypeAdapter[Parameters] = TypeAdapter(ModelSection)


def build(
    architecture: str,
    parameters: Mapping[str, Any],
    input_shape: Shape,
    classes: int,
    objective: Objective = "classification",
) -> Network:
    """Rebuild a network from its JSON description; the inverse of reading its five fields.

    Raises:
        SpecError: it describes a model of somebody's own, whose code a description never names.
    """
    if architecture == "native":
        raise SpecError(
            "this model is somebody's own code, which a run folder never names; its "
            "weights.safetensors has the names of that model's own tensors: load it there, or run "
            "its spec again"
        )
    section = _SECTION.validate_python({"architecture": architecture, **parameters})
    return section.network(tuple(input_shape), classes, objective)


__all__ = [
    "ARCHITECTURES",
    "HEAD",
    "INPUT",
    "LANGUAGE",
    "TARGETS",
    "Initializer",
    "ModelSection",
    "Network",
    "Node",
    "Objective",
    "Parameters",
    "Shape",
    "Tensor",
    "build",
]
