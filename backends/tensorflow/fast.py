"""Fast numerics: the ways of training and of evaluating that are tried (``paribus.tuning.fast``).

Tried are products in bfloat16 (parameters, norms, loss and update stay float32), on a GPU in TF32,
XLA, and for an evaluation BatchNorm folded into the convolutions. XLA is not tried on a CPU for
networks with convolutions: its own are an order of magnitude slower than TensorFlow's inside of a
loop, and take minutes to compile.
"""

from __future__ import annotations

from dataclasses import dataclass

from paribus.adapter import Task
from paribus.architectures import Network
from paribus.tuning import Setting, Settings
from paribus.tuning.fast import About

FLOAT, TF32, HALF = "float32", "tf32", "bfloat16"


@dataclass(frozen=True)
class Setup:
    """What may be computed in one way or another.

    Attributes:
        bfloat16: whether convolutions and products are.
        xla: whether XLA compiles the graph.
        folded: whether BatchNorm is part of the convolution before it, in evaluation.
        tf32: whether a GPU's products in float32 read 10 bits of their factors' fractions.
    """

    bfloat16: bool
    xla: bool
    folded: bool = False
    tf32: bool = False

    def with_(self, settings: Settings) -> Setup:
        """Return the setup that settings stand for, this one being that of strict numerics."""
        return Setup(
            self.bfloat16 or settings.get("products") == HALF,
            bool(settings.get("xla", self.xla)),
            bool(settings.get("folded", False)),
            settings.get("products") == TF32,
        )


def about(network: Network, task: Task, place: str, strict: Setup, *, float32: bool) -> About:
    """Return what may be chosen, and what that depends on.

    Args:
        network, task: the session's.
        place: TensorFlow's name of the device.
        strict: how strict numerics compute.
        float32: whether parameters have single precision.
    """
    axes: dict[str, tuple[Setting, ...]] = {}
    if float32 and not strict.bfloat16:
        axes["products"] = (FLOAT, HALF) if place.startswith("CPU") else (FLOAT, TF32, HALF)
    convolves = any(node.op == "conv2d" for node in network.nodes)
    if not (place.startswith("CPU") and convolves):
        axes["xla"] = (False, True)
    precision = [float32, strict.bfloat16]
    return About(network, task, place, precision, ("tensorflow", "keras"), axes)
