"""A multilayer perceptron on flattened inputs."""

from __future__ import annotations

from math import prod
from typing import Annotated, Literal

from pydantic import Field

from paribus.architectures.builder import Builder
from paribus.architectures.initializers import (
    fan_in_uniform,
    kaiming_uniform,
    xavier_uniform,
    zeros,
)
from paribus.architectures.network import HEAD, INPUT, Network, Objective, Shape
from paribus.architectures.parameters import Dropout, Parameters


class MLP(Parameters):
    """Linear layers with an activation between them; works on images and tables.

    Hidden weights are drawn Kaiming-uniform for ReLU and Xavier-uniform for tanh, biases zero.
    Dropout is of every hidden layer's values, after the activation; the input is never dropped.
    """

    architecture: Literal["mlp"] = "mlp"
    hidden: list[Annotated[int, Field(ge=1, le=65536)]] = Field(
        default=[128], min_length=1, max_length=32, description="Width of each hidden layer."
    )
    activation: Literal["relu", "tanh"] = "relu"
    dropout: Dropout = 0.0

    def _network(self, input_shape: Shape, classes: int, objective: Objective) -> Network:
        """Build the network; stages are ``hidden0``, ``hidden1``, … and ``head``."""
        build = Builder(self.architecture, input_shape, objective)
        build.stage = "hidden0"
        node, fan = build.flatten("flatten", INPUT), prod(input_shape)
        for index, width in enumerate(self.hidden):
            build.stage = f"hidden{index}"
            weight = (
                kaiming_uniform(fan) if self.activation == "relu" else xavier_uniform(fan, width)
            )
            node = build.linear(f"hidden.{index}", node, width, weight=weight, bias=zeros())
            node = build.elementwise(f"activation.{index}", self.activation, node)
            node = build.dropout(f"dropout.{index}", node, self.dropout)
            fan = width
        build.stage = HEAD
        build.linear("fc", node, classes, weight=fan_in_uniform(fan), bias=zeros())
        return build.build(self.values(), classes)
