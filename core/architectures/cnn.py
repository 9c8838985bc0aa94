"""A small convolutional network: blocks of convolution, optional normalisation, ReLU, pooling."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from paribus.architectures.builder import Builder
from paribus.architectures.initializers import (
    fan_in_uniform,
    kaiming_normal,
    kaiming_uniform,
    zeros,
)
from paribus.architectures.network import HEAD, INPUT, Network, Objective, Shape
from paribus.architectures.parameters import Dropout, Parameters


class CNN(Parameters):
    """One block per entry of ``channels``: k×k convolution, BatchNorm, ReLU, 2×2 max-pool.

    Then either global average pooling or flattening, an optional hidden layer, and the head.
    Convolutions are drawn Kaiming-normal by fan-out, the hidden layer Kaiming-uniform.
    Dropout is of what the head reads.
    """

    architecture: Literal["cnn"] = "cnn"
    channels: list[Annotated[int, Field(ge=1, le=4096)]] = Field(
        default=[16, 32], min_length=1, max_length=8, description="Output channels of each block."
    )
    kernel: Literal[1, 3, 5, 7] = 3
    batch_norm: bool = True
    pooling: Literal["flatten", "average"] = Field(
        default="flatten", description="What turns the last feature map into a vector."
    )
    hidden: int = Field(default=0, ge=0, le=65536, description="Width before the head; 0: none.")
    dropout: Dropout = 0.0

    def _network(self, input_shape: Shape, classes: int, objective: Objective) -> Network:
        """Build the network; stages are ``block0``, ``block1``, …, ``neck`` and ``head``."""
        build = Builder(self.architecture, input_shape, objective)
        node = INPUT
        for index, width in enumerate(self.channels):
            build.stage = f"block{index}"
            node = build.conv2d(
                f"conv{index}",
                node,
                width,
                self.kernel,
                padding=self.kernel // 2,
                weight=kaiming_normal(width * self.kernel**2),
                bias=None if self.batch_norm else zeros(),
            )
            if self.batch_norm:
                node = build.batch_norm(f"bn{index}", node)
            node = build.elementwise(f"relu{index}", "relu", node)
            node = build.max_pool2d(f"pool{index}", node, 2, stride=2)
        build.stage = "neck"
        node = (
            build.flatten("flatten", node)
            if self.pooling == "flatten"
            else build.global_avg_pool("avgpool", node)
        )
        if self.hidden:
            (fan,) = build.shape(node)
            weight = kaiming_uniform(fan)
            node = build.linear("hidden", node, self.hidden, weight=weight, bias=zeros())
            node = build.elementwise("relu", "relu", node)
        node = build.dropout("dropout", node, self.dropout)
        build.stage = HEAD
        (fan,) = build.shape(node)
        build.linear("fc", node, classes, weight=fan_in_uniform(fan), bias=zeros())
        return build.build(self.values(), classes)
