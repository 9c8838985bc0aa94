"""Products with a layer's weights on processors for which PyTorch's own are slow.

PyTorch multiplies float32 matrices by Intel's MKL, which on AMD's processors with AVX-512 computes
with half of their width. oneDNN, which PyTorch brings for convolutions, asks what a processor can
do and not who made it. Measured on two cores of an AMD EPYC (Zen 5), products of 32 to 4096 rows
with 256×256 to 4608×512 weights: 160 to 220 GFLOP/s by MKL, 280 to 490 by oneDNN; the weights'
gradient is 1.3 to 2.4 × as fast. On Intel's processors nothing is changed.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Multiply-adds below which a call of oneDNN takes longer than the product.
LEAST = 2**21
# Rows of a batch from which on the weights' gradient is a convolution's, how many times as many as
# a layer has inputs and outputs, and as how many images, which has to come out even. By two threads
# it is 1.05 to 1.6 × as fast as a product, by one as fast; of fewer images it takes twice as long.
MANY, TIMES, IMAGES = 1024, 4, 32
# Weights of a layer below which it hardly ever has rows enough, and asking would take longer.
SMALL = 8192
# Rows that a product with frozen weights is taken to have: for every batch the same library, whose
# bits for an example do not depend on how many there are.
USUAL = 32


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return x·Wᵀ + bias, as ``torch.nn.functional.linear`` does, by the faster library.

    Args:
        x: [..., in].
        weight: [out, in], any strides.
        bias: [out] or None.

    Returns:
        [..., out].
    """
    if suits(x, weight):
        rows: Tensor = _Linear.apply(x.reshape(-1, x.shape[-1]), weight, bias)
        return rows.view(*x.shape[:-1], len(weight))
    return F.linear(x, weight, bias)


def suits(x: Tensor, weight: Tensor) -> bool:
    """Return whether oneDNN multiplies these: a rule, so that bits repeat."""
    if x.dtype != torch.float32 or weight.dtype != torch.float32 or not mkl_is_slow():
        return False
    if x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return False
    rows = x.numel() // x.shape[-1] if weight.requires_grad else USUAL
    return rows * weight.numel() >= LEAST and x.numel() > 0


@lru_cache(maxsize=1)
def mkl_is_slow() -> bool:
    """Return whether this is a processor of AMD with AVX-512, and PyTorch has both libraries."""
    return (
        torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and "AuthenticAMD" in _processor()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def attach(module: nn.Module) -> list[Callable[[], None]]:
    """Let a module's linear layers multiply by ``linear``, where that can be faster.

    Args:
        module: with memory.

    Returns:
        What takes it back, a function for each.
    """
    if not mkl_is_slow():
        return []
    lent: list[Callable[[], None]] = []
    for part in module.modules():
        if (
            not isinstance(weight := getattr(part, "weight", None), Tensor)
            or weight.numel() < SMALL
        ):
            continue
        if type(part) is nn.Linear:
            forward = partial(_forward, part, False)
        elif type(part).__name__ == "Conv1D" and not isinstance(part, nn.Conv1d):
            # A linear layer of transformers whose weight is [in, out].
            forward = partial(_forward, part, True)
        else:
            continue
        # An attribute of this one module, before the class's own.
        setattr(part, "forward", forward)  # noqa: B010 (mypy: a method cannot be assigned to)
        lent.append(partial(delattr, part, "forward"))
    return lent


def _forward(module: Any, transposed: bool, x: Tensor) -> Tensor:
    return linear(x, module.weight.t() if transposed else module.weight, module.bias)


class _Linear(torch.autograd.Function):
    """A linear layer of rows [n, in], and its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        by_x = by_weight = by_bias = None
        if ctx.needs_input_grad[0]:
            by_x = product(gradient, weight.t())
        if ctx.needs_input_grad[1]:
            by_weight = _between(x, gradient, weight.stride(0) == 1)
        if ctx.needs_input_grad[2]:
            by_bias = gradient.sum(0)
        return by_x, by_weight, by_bias


def _between(x: Tensor, gradient: Tensor, turned: bool) -> Tensor:
    """Return gradientᵀ·x: [out, in] of x [n, in] and gradient [n, out].

    Args:
        x, gradient: the two.
        turned: whether it is best with the memory of [in, out].
    """
    rows, inputs, outputs = len(x), x.shape[1], gradient.shape[1]
    if rows % IMAGES == 0 and rows >= max(MANY, TIMES * inputs, TIMES * outputs):
        return _summed(gradient, x).t() if turned else _summed(x, gradient)
    # With the shorter side as rows it is up to 1.5 × as fast; but what it has to turn, its first
    # factor or the result, is then more where rows are few.
    if rows * (outputs - inputs) < outputs * inputs:
        return product(gradient.t(), x.t())
    return product(x.t(), gradient.t()).t()


def _summed(x: Tensor, gradient: Tensor) -> Tensor:
    """Return gradientᵀ·x by the weights' gradient of a convolution of single places.

    It reads both factors as they are; of a product oneDNN turns one, and PyTorch the other, on one
    thread.
    """
    inputs, outputs = x.shape[1], gradient.shape[1]
    images, by_outputs = (
        rows.contiguous().view(IMAGES, -1, 1, rows.shape[1]).permute(0, 3, 1, 2)
        for rows in (x, gradient)
    )
    like = x.new_empty((outputs, inputs, 1, 1))
    _, found, _ = torch.ops.aten.convolution_backward(
        by_outputs, images, like, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1,
        [False, True, False],
    )  # fmt: skip
    weights: Tensor = found.view(outputs, inputs)
    return weights


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x·Wᵀ + bias of x [n, in] and weight [out, in] by oneDNN: [n, out].

    Of a second factor with gaps in memory, as one token of each text has them, oneDNN computes each
    number by itself, a hundred times as long; so it is copied. Of the first it makes a copy itself.
    """
    across = weight.t()
    if not weight.is_contiguous() and not across.is_contiguous():
        weight = across.contiguous().t() if weight.stride(0) == 1 else weight.contiguous()
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return found


def of_many(x: Tensor, weight: Tensor) -> Tensor | None:
    """Return W·xᵀ of many weights and the rows that all of them read, as one product.

    Args:
        x: [r, n, in]; the same rows for all r, where its stride says so.
        weight: [r, out, in].

    Returns:
        [r, out, n], with the bits of ``torch.bmm``; None where that is as good, or has others.
    """
    many, rows, inputs = x.shape
    outputs = weight.shape[1]
    if not mkl_is_slow() or x.dtype != torch.float32 or x.device.type != "cpu":
        return None
    if x.stride(0) > 0 or weight.numel() * rows < LEAST or not _alike(outputs, inputs, rows):
        return None
    return product(weight.reshape(many * outputs, inputs), x[0]).view(many, outputs, rows)


@lru_cache(maxsize=64)
def _alike(outputs: int, inputs: int, rows: int) -> bool:
    """Return whether both libraries have the same bits for products of such a size.

    Where sums are short both add one after the other, and it does not matter who does it; where
    they are long each has an order of its own. Nobody promises either, so it is tried.
    """
    numbers = torch.Generator().manual_seed(0)
    x = torch.randn((rows, inputs), generator=numbers)
    weight = torch.randn((9, outputs, inputs), generator=numbers)
    bias = torch.randn((9, outputs, 1), generator=numbers)
    own = torch.bmm(weight, x.t().expand(9, -1, -1))
    biased = torch.baddbmm(bias, weight, x.t().expand(9, -1, -1))
    found = [
        product(weight[:many].reshape(-1, inputs), x).view(many, outputs, rows)
        for many in (1, 2, 9)
    ]
    same = all(torch.equal(one, own[: len(one)]) for one in found)
    return same and torch.equal(found[-1] + bias, biased)


def _processor() -> str:
    """Return what the system says of its processor."""
    try:
        return Path("/proc/cpuinfo").read_text("utf-8", "replace")[:4096]
    except OSError:
        return platform.processor()
