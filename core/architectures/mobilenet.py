"""MobileNetV2 (Sandler et al. 2018) under torchvision's names.

Initialisation as published with torchvision: convolutions Kaiming-normal by fan-out (each filter
of a depthwise convolution counts, as PyTorch does, all output channels), the head normal with
standard deviation 0.01, BatchNorm weight 1 and bias 0.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from paribus.architectures.builder import Builder
from paribus.architectures.initializers import kaiming_normal, normal, zeros
from paribus.architectures.network import HEAD, INPUT, Network, Objective, Shape
from paribus.architectures.parameters import Dropout, Parameters

# expansion, channels, blocks, stride of the first block
BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class MobileNetV2(Parameters):
    """The published MobileNetV2, and its narrower and wider forms."""

    architecture: Literal["mobilenet_v2"] = "mobilenet_v2"
    width: float = Field(
        default=1.0, ge=0.05, le=8.0, description="Multiplies the channels of every layer."
    )
    dropout: Dropout = 0.0

    def _network(self, input_shape: Shape, classes: int, objective: Objective) -> Network:
        """Build the network; stages are ``stem``, ``block1`` … ``block7``, ``neck``, ``head``."""
        build = Builder(self.architecture, input_shape, objective)
        build.stage = "stem"
        node = _conv_norm(build, "features.0", 0, INPUT, _channels(32 * self.width), 3, stride=2)
        place = 1
        for number, (expansion, channels, blocks, first) in enumerate(BLOCKS, start=1):
            build.stage = f"block{number}"
            out = _channels(channels * self.width)
            for block in range(blocks):
                stride = first if block == 0 else 1
                node = _inverted_residual(build, f"features.{place}", node, out, expansion, stride)
                place += 1
        build.stage = "neck"
        last = _channels(1280 * max(1.0, self.width))
        node = _conv_norm(build, f"features.{place}", 0, node, last, 1)
        node = build.global_avg_pool("avgpool", node)
        build.stage = HEAD
        node = build.dropout("classifier.0", node, self.dropout)
        build.linear("classifier.1", node, classes, weight=normal(0.01), bias=zeros())
        return build.build(self.values(), classes)


def _inverted_residual(
    build: Builder, name: str, source: str, out: int, expansion: int, stride: int
) -> str:
    """Add expansion, depthwise convolution and projection, and the shortcut where shapes allow."""
    channels = build.shape(source)[0]
    wide, node, part = channels * expansion, source, 0
    if expansion > 1:
        node = _conv_norm(build, f"{name}.conv.{part}", 0, node, wide, 1)
        part += 1
    node = _conv_norm(build, f"{name}.conv.{part}", 0, node, wide, 3, stride=stride, groups=wide)
    node = _conv_norm(build, f"{name}.conv", part + 1, node, out, 1, activate=False)
    return build.add(f"{name}.add", source, node) if (stride, channels) == (1, out) else node


def _conv_norm(
    build: Builder,
    parent: str,
    place: int,
    source: str,
    width: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    activate: bool = True,
) -> str:
    node = build.conv2d(
        f"{parent}.{place}",
        source,
        width,
        kernel,
        stride=stride,
        padding=kernel // 2,
        groups=groups,
        weight=kaiming_normal(width * kernel**2),
    )
    node = build.batch_norm(f"{parent}.{place + 1}", node)
    return build.elementwise(f"{parent}.{place + 2}", "relu6", node) if activate else node


def _channels(wanted: float) -> int:
    """Round to a multiple of 8, at least 8, and not more than 10 % down, as published."""
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded
