"""A copy of a module for evaluation alone: BatchNorm folded, in another precision and order.

In evaluation mode BatchNorm is a factor and a sum for each channel, which the convolution before it
can do by itself with other weights (w·γ/√(σ² + ε), and β − μ·γ/√(σ² + ε) as its bias): a pass over
every activation less, and other roundings. In bfloat16 the whole copy is, so that activations are
half as large; its outputs are handed on in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from paribus.architectures import Network
from paribus.architectures.folding import foldable
from paribus.backends.torch import products
from paribus.backends.torch.settings import reduced, threads
from paribus.backends.torch.stepper import Setup, Stepper


@dataclass(frozen=True)
class Way(Setup):
    """How to evaluate: a setup, and whether BatchNorm is folded where it can be."""

    folded: bool = False


class Inference:
    """A copy of the stepper's module as it is now.

    Attributes:
        changes: of the stepper, when the copy was made.
    """

    def __init__(self, stepper: Stepper, way: Way) -> None:
        self.changes = stepper.changes
        self._model, self._way, self._dtype = stepper.model, way, stepper.dtype
        module = stepper.placed.copy().requires_grad_(False)
        with torch.no_grad():
            if way.folded:
                fold(module, stepper.network, stepper.model.names)
            if way.bfloat16:
                module = module.to(torch.bfloat16)
            if way.channels_last:
                module = module.to(memory_format=torch.channels_last)
                products.attach(module, stepper.network, stepper.model.names)
        self._module = module.eval()

    def forward(self, x: Tensor, positions: Tensor | None) -> Tensor:
        """Return the outputs for inputs as ``Batches`` makes them, in the parameters' precision."""
        if x.is_floating_point():
            x = x.to(torch.bfloat16 if self._way.bfloat16 else self._dtype)
        if x.ndim == 4:
            last = self._way.channels_last
            x = x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
        with threads(self._way.threads), reduced(self._way.tf32):
            return self._model.logits(self._module, x, positions).to(self._dtype)


def fold(module: nn.Module, network: Network, names: Mapping[str, tuple[str, ...]]) -> None:
    """Fold every batch norm that can be into the convolution before it, in place."""
    for convolution, norm in foldable(network).items():
        first, second = (_owner(names[f"{name}.weight"][0]) for name in (convolution, norm))
        conv, bn = module.get_submodule(first), module.get_submodule(second)
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(bn, nn.BatchNorm2d)
        _put(module, first, fuse_conv_bn_eval(conv, bn))
        _put(module, second, nn.Identity())


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def _put(module: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    module.get_submodule(parent).add_module(leaf, part)
