"""ResNet v1.5 (He et al. 2016, stride in the 3×3 convolution) under torchvision's names.

Initialisation as published with torchvision: convolutions Kaiming-normal by fan-out, BatchNorm
weight 1 and bias 0, the last layer uniform in ±1/√fan_in.
"""

from __future__ import annotations

from typing import Literal

from paribus.architectures.builder import Builder
from paribus.architectures.initializers import fan_in_uniform, kaiming_normal
from paribus.architectures.network import HEAD, INPUT, Network, Objective, Shape
from paribus.architectures.parameters import Parameters, StochasticDepth, of_block

Name = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]

# blocks per layer, and whether the blocks are bottlenecks
DEPTHS: dict[str, tuple[tuple[int, int, int, int], bool]] = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}


class ResNet(Parameters):
    """The five published ResNets."""

    architecture: Name = "resnet18"
    stochastic_depth: StochasticDepth = 0.0

    def _network(self, input_shape: Shape, classes: int, objective: Objective) -> Network:
        """Build the network; stages are ``stem``, ``layer1`` … ``layer4`` and ``head``."""
        depths, bottleneck = DEPTHS[self.architecture]
        done = 0
        build = Builder(self.architecture, input_shape, objective)
        build.stage = "stem"
        node = _conv_norm(build, "conv1", "bn1", INPUT, 64, 7, 2)
        node = build.elementwise("relu", "relu", node)
        node = build.max_pool2d("maxpool", node, 3, stride=2, padding=1)
        for layer, depth in enumerate(depths, start=1):
            build.stage = f"layer{layer}"
            for block in range(depth):
                stride = 2 if layer > 1 and block == 0 else 1
                name = f"layer{layer}.{block}"
                done += 1
                skipped = of_block(self.stochastic_depth, done, sum(depths))
                node = _block(build, name, node, 32 * 2**layer, stride, bottleneck, skipped)
        build.stage = HEAD
        node = build.global_avg_pool("avgpool", node)
        draw = fan_in_uniform(build.shape(node)[0])
        build.linear("fc", node, classes, weight=draw, bias=draw)
        return build.build(self.values(), classes)


def _conv_norm(
    build: Builder, conv: str, norm: str, source: str, width: int, kernel: int, stride: int
) -> str:
    weight = kaiming_normal(width * kernel**2)
    node = build.conv2d(
        conv, source, width, kernel, stride=stride, padding=kernel // 2, weight=weight
    )
    return build.batch_norm(norm, node)


def _block(
    build: Builder,
    name: str,
    source: str,
    width: int,
    stride: int,
    bottleneck: bool,
    skipped: float,
) -> str:
    out = width * 4 if bottleneck else width
    convolutions = (
        [(width, 1, 1), (width, 3, stride), (out, 1, 1)]
        if bottleneck
        else [(width, 3, stride), (width, 3, 1)]
    )
    node = source
    for index, (channels, kernel, step) in enumerate(convolutions, start=1):
        node = _conv_norm(
            build, f"{name}.conv{index}", f"{name}.bn{index}", node, channels, kernel, step
        )
        if index < len(convolutions):
            node = build.elementwise(f"{name}.relu{index}", "relu", node)
    node = build.stochastic_depth(f"{name}.stochastic_depth", node, skipped)
    shortcut = source
    if stride != 1 or build.shape(source)[0] != out:
        shortcut = _conv_norm(
            build, f"{name}.downsample.0", f"{name}.downsample.1", source, out, 1, stride
        )
    return build.elementwise(f"{name}.relu", "relu", build.add(f"{name}.add", node, shortcut))
