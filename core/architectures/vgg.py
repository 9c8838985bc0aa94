"""VGG (Simonyan & Zisserman 2015, configurations A, B, D, E) under torchvision's names.

Initialisation as published with torchvision: convolutions Kaiming-normal by fan-out, linear layers
normal with standard deviation 0.01, biases zero, BatchNorm weight 1 and bias 0.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from paribus.architectures.builder import Builder
from paribus.architectures.initializers import kaiming_normal, normal, zeros
from paribus.architectures.network import HEAD, INPUT, Network, Objective, Shape
from paribus.architectures.parameters import Dropout, Parameters

Name = Literal[
    "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"
]  # fmt: skip

WIDTHS = (64, 128, 256, 512, 512)
# convolutions per block
DEPTHS: dict[str, tuple[int, int, int, int, int]] = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}


class VGG(Parameters):
    """The published VGGs: five blocks of 3×3 convolutions, three linear layers."""

    architecture: Name = "vgg16"
    hidden: int = Field(
        default=4096, ge=1, le=65536, description="Width of the two layers before the head."
    )
    dropout: Dropout = 0.0

    def _network(self, input_shape: Shape, classes: int, objective: Objective) -> Network:
        """Build the network; stages are ``block1`` … ``block5``, ``classifier`` and ``head``."""
        depths = DEPTHS[self.architecture.removesuffix("_bn")]
        build = Builder(self.architecture, input_shape, objective)
        node, place = INPUT, 0
        for block, (depth, width) in enumerate(zip(depths, WIDTHS, strict=True), start=1):
            build.stage = f"block{block}"
            for _ in range(depth):
                node, place = self._convolution(build, node, place, width)
            node = build.max_pool2d(f"features.{place}", node, 2, stride=2)
            place += 1
        build.stage = "classifier"
        node = build.adaptive_avg_pool2d("avgpool", node, 7)
        node = build.flatten("flatten", node)
        for index in (0, 3):
            name = f"classifier.{index}"
            node = build.linear(name, node, self.hidden, weight=normal(0.01), bias=zeros())
            node = build.elementwise(f"classifier.{index + 1}", "relu", node)
            node = build.dropout(f"classifier.{index + 2}", node, self.dropout)
        build.stage = HEAD
        build.linear("classifier.6", node, classes, weight=normal(0.01), bias=zeros())
        return build.build(self.values(), classes)

    def _convolution(self, build: Builder, node: str, place: int, width: int) -> tuple[str, int]:
        """Add convolution, normalisation, ReLU; return the last and the next free place."""
        weight = kaiming_normal(width * 9)
        node = build.conv2d(
            f"features.{place}", node, width, 3, padding=1, weight=weight, bias=zeros()
        )
        if self.architecture.endswith("_bn"):
            place += 1
            node = build.batch_norm(f"features.{place}", node)
        place += 1
        return build.elementwise(f"features.{place}", "relu", node), place + 1
