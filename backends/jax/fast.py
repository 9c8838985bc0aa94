"""Fast numerics: the ways of training and of evaluating that are tried (``paribus.tuning.fast``).

Tried are products in bfloat16 (parameters, norms, loss and update stay float32), on a GPU in TF32,
whether the steps of a plan are one compiled loop or a call each, and for an evaluation BatchNorm
folded into the convolutions. A loop is not tried on a CPU for networks with convolutions: they are
15 to 50 times slower inside of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from paribus.adapter import Task
from paribus.architectures import Network
from paribus.architectures.folding import foldable
from paribus.tuning import Setting, Settings
from paribus.tuning.fast import About

FLOAT, TF32, HALF = "float32", "tf32", "bfloat16"


@dataclass(frozen=True)
class Setup:
    """What may be computed in one way or another.

    Attributes:
        bfloat16: whether convolutions and products are.
        looped: whether a plan's steps are one compiled loop.
        folded: whether BatchNorm is part of the convolution before it, in evaluation.
        tf32: whether a GPU's products in float32 read 10 bits of their factors' fractions.
    """

    bfloat16: bool
    looped: bool
    folded: bool = False
    tf32: bool = False

    def with_(self, settings: Settings) -> Setup:
        """Return the setup that settings stand for, this one being that of strict numerics."""
        return Setup(
            self.bfloat16 or settings.get("products") == HALF,
            bool(settings.get("looped", self.looped)),
            bool(settings.get("folded", False)),
            settings.get("products") == TF32,
        )


def about(network: Network, task: Task, device: Any, strict: Setup, *, float32: bool) -> About:
    """Return what may be chosen, and what that depends on.

    Args:
        network, task: the session's.
        device: JAX's own.
        strict: how strict numerics compute.
        float32: whether parameters have single precision.
    """
    axes: dict[str, tuple[Setting, ...]] = {}
    if float32 and not strict.bfloat16:
        axes["products"] = (FLOAT, HALF) if device.platform == "cpu" else (FLOAT, TF32, HALF)
    if strict.looped or device.platform != "cpu":
        axes["looped"] = (strict.looped, not strict.looped)
    precision = [float32, strict.bfloat16]
    return About(network, task, str(device), precision, ("jax", "jaxlib"), axes)


def fold(network: Network, tensors: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return all tensors, those of convolutions with a BatchNorm in them, and the latter's biases.

    With factor f = γ/√(σ² + ε), the kernel w becomes w·f and the bias b becomes β + (b − μ)·f, per
    output channel.
    """
    found, biases = dict(tensors), {}
    for convolution, norm in foldable(network).items():
        scale, offset, mean, variance = (
            tensors[f"{norm}.{leaf}"] for leaf in ("weight", "bias", "running_mean", "running_var")
        )
        factor = scale / jnp.sqrt(variance + network.node[norm].attributes["eps"])
        found[f"{convolution}.weight"] = (
            tensors[f"{convolution}.weight"] * factor[:, None, None, None]
        )
        biased = network.node[convolution].size("bias")
        bias = tensors[f"{convolution}.bias"] if biased else 0.0
        biases[convolution] = offset + (bias - mean) * factor
    return found, biases
