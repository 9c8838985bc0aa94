"""BatchNorm as part of the convolution before it, in evaluation: fewer passes over activations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from paribus.architectures import Network
from paribus.architectures.folding import foldable

Tensor = Any


def fold(
    network: Network, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return all tensors, those of convolutions with a BatchNorm in them, and the latter's biases.

    With factor f = γ/√(σ² + ε), the kernel w becomes w·f and the bias b becomes β + (b − μ)·f, per
    output channel.
    """
    found, biases = dict(tensors), {}
    for convolution, norm in foldable(network).items():
        node = network.node[convolution]
        scale, offset, mean, variance = (
            tensors[f"{norm}.{leaf}"] for leaf in ("weight", "bias", "running_mean", "running_var")
        )
        factor = scale * tf.math.rsqrt(variance + network.node[norm].attributes["eps"])
        kernel = tensors[f"{convolution}.weight"]
        if node.size("groups") == node.size("in_channels") > 1:
            # Keras's order for these: (height, width, channels, outputs of each).
            found[f"{convolution}.weight"] = kernel * tf.reshape(factor, kernel.shape[2:])
        else:
            found[f"{convolution}.weight"] = kernel * factor
        bias = tensors[f"{convolution}.bias"] if node.size("bias") else 0.0
        biases[convolution] = offset + (bias - mean) * factor
    return found, biases
