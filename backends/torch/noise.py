"""Dropping values by the plan's keys, in modules that stay as their authors made them.

A native module's own dropout draws from PyTorch's generator, and some places where a network drops
have no module at all. So a session holds every dropping module in evaluation mode, where it lets
everything through, and drops behind it: a hook takes what a module returns. Attention drops in its
middle; there the session lends it a function. ``detached`` takes all of it away, and what is left
is the plain module again.

Masks are integer arithmetic in place (``paribus.noise``). On a CPU that takes less than half of
the time of PyTorch's own generator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paribus.architectures import Network
from paribus.noise import FIRST, GOLDEN, SECOND, Keys, scale, threshold, words_per_row

if TYPE_CHECKING:
    from paribus.backends.torch.models import Model

WORD = 2**32
# Words; of 16 Ki to all at once, what was fastest for a million on a CPU with 2 MiB of cache.
PIECE = 64 * 1024


class Attention(Protocol):
    """softmax(q·kᵀ / √d)·v for q, k, v [b, heads, T, d]; ``mask`` bool: which keys are seen."""

    def __call__(
        self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, causal: bool
    ) -> Tensor:
        """Return [b, heads, T, d]."""


# Makes an attention module compute with a function; returns what takes that back.
Lend = Callable[[nn.Module, Attention], Callable[[], None]]


class Dropped(torch.autograd.Function):
    """``x`` where it is kept, scaled; saves one byte a value for the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: Tensor, factor: float) -> Tensor:
        """Return x · kept · factor; ``kept`` uint8, broadcast to ``x``."""
        ctx.save_for_backward(kept)
        ctx.factor = factor
        return (x * kept).mul_(factor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Return the same of the gradient."""
        (kept,) = ctx.saved_tensors
        return (gradient * kept).mul_(ctx.factor), None, None


class Noise:
    """What a session's module drops in the forward pass that is under way.

    Args:
        network: its ``noisy`` nodes.
        module: the native module, with memory.
        model: says where in it each of them is.
        native: whether PyTorch's generator draws, started from the keys.

    Attributes:
        held: modules that must stay in evaluation mode.
    """

    def __init__(self, network: Network, module: nn.Module, model: Model, native: bool) -> None:
        self._native = native
        self._keys: Mapping[str, Sequence[int] | Tensor] = {}
        self._first = 0
        self._counters = torch.empty(0, dtype=torch.int32)
        self._noisy = network.noisy
        device = next(module.parameters()).device
        self._cuda = [device] if device.type == "cuda" else []
        self._places: list[tuple[nn.Module, str, float, str]] = []
        self._lend = model.lend
        self._undo: list[Callable[[], None]] = []
        self.held: list[nn.Module] = []
        self._seed = model.seed if model.own else None
        if not network.noisy or model.own:
            return
        for name in network.noisy:
            node = network.node[name]
            attends = "p" not in node.attributes
            probability = node.attributes["dropout" if attends else "p"]
            place = module.get_submodule(model.dropped.get(name, name))
            self._places.append((place, name, probability, node.op))
            if attends:
                self.held.append(place)
        self.held += [part for part in module.modules() if isinstance(part, _DROPPING)]
        self._attach()

    @contextmanager
    def drawn(self, keys: Keys | Tensor | None, first: int) -> Iterator[None]:
        """Drop by a step's ``keys`` int32 [L, 2] the rows from ``first`` on; None: nothing.

        Keys that are a tensor stay where they are: only masks are drawn from them.
        """
        if keys is None or not self._noisy:
            yield
            return
        if isinstance(keys, Tensor):
            self._keys, self._first = dict(zip(self._noisy, keys.unbind(), strict=True)), first
            try:
                yield
            finally:
                self._keys = {}
            return
        self._keys, self._first = dict(zip(self._noisy, keys.tolist(), strict=True)), first
        one, two = self._keys[self._noisy[0]]
        number = (one % WORD * WORD + two % WORD + first) % 2**63
        try:
            if self._seed is not None:
                self._seed(number)
                yield
                return
            if not self._native:
                yield
                return
            # The generators are the process's: they are put back as they were.
            with torch.random.fork_rng(self._cuda):
                torch.manual_seed(number)
                yield
        finally:
            self._keys = {}

    @contextmanager
    def detached(self) -> Iterator[None]:
        """Leave the plain module for as long as the context lasts."""
        self._detach()
        try:
            yield
        finally:
            self._attach()

    def _attach(self) -> None:
        for place, name, probability, op in self._places:
            if op in ("dropout", "stochastic_depth"):
                whole = op == "stochastic_depth"
                hook = place.register_forward_hook(partial(self._hook, name, probability, whole))
                self._undo.append(hook.remove)
            else:
                self._undo.append(self._lend(place, partial(self._attend, name, probability)))

    def _detach(self) -> None:
        while self._undo:
            self._undo.pop()()

    def _hook(
        self, name: str, p: float, whole: bool, module: nn.Module, inputs: Any, output: Any
    ) -> Any:
        if not self._keys:
            return None
        if isinstance(output, tuple):
            return self._drop(name, p, whole, output[0]), *output[1:]
        return self._drop(name, p, whole, output)

    def _attend(
        self,
        name: str,
        p: float,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None,
        causal: bool,
    ) -> Tensor:
        if not self._keys or self._native:
            drops = p if self._keys else 0.0
            return F.scaled_dot_product_attention(queries, keys, values, mask, drops, causal)
        scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-2, -1)
        if causal:
            mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril_()
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        return self._drop(name, p, False, scores.softmax(-1)) @ values

    def _drop(self, name: str, p: float, whole: bool, x: Tensor) -> Tensor:
        shape = (len(x), *(1,) * (x.ndim - 1)) if whole else tuple(x.shape)
        if self._native:
            return _skipped(x, p) if whole else F.dropout(x, p)
        kept = self._kept(self._keys[name], prod(shape[1:]), len(x), threshold(p), x.device)
        dropped: Tensor = Dropped.apply(x, kept.view(shape), scale(p))
        return dropped

    def held_memory(self) -> Tensor:
        """Return what masks are drawn with, which later ones may replace by something larger."""
        return self._counters

    def _kept(
        self, key: Sequence[int] | Tensor, size: int, rows: int, least: int, device: torch.device
    ) -> Tensor:
        """Return which values are kept, uint8 [rows · size]."""
        each = words_per_row(size)
        count = rows * each
        piece = min(PIECE, count) if device.type == "cpu" else count
        if len(self._counters) < piece or self._counters.device != device:
            self._counters = torch.arange(piece, dtype=torch.int32, device=device)
            self._counters.mul_(signed(GOLDEN))
        kept = torch.empty(2 * count, dtype=torch.bool, device=device)
        for first in range(0, count, piece):
            last = min(first + piece, count)
            # i · golden + key₀; the first i is the first row's, or the piece's.
            start = _start(key, (self._first * each + first) * GOLDEN)
            x = self._counters[: last - first] + start
            mix(x, key[1])
            torch.ge(x.view(torch.int16), least - 2**15, out=kept[2 * first : 2 * last])
        if size % 2:
            kept = kept.view(rows, 2 * each)[:, :size].contiguous()
        return kept.view(torch.uint8)


def _start(key: Sequence[int] | Tensor, before: int) -> int | Tensor:
    """Return the signed number of 32 bits that a key and what lies before add up to."""
    if isinstance(key, Tensor):
        return key[0] + signed(before)
    return signed(key[0] + before)


def mix(x: Tensor, key: int | Tensor) -> None:
    """Turn i · golden + key₀ into words whose halves are ordered as signed numbers, in place.

    PyTorch shifts signed numbers arithmetically: a mask takes the copies of the sign away.
    """
    shifted = x >> 16
    x ^= shifted.bitwise_and_(0xFFFF)
    x *= signed(FIRST)
    x ^= key
    torch.bitwise_right_shift(x, 15, out=shifted)
    x ^= shifted.bitwise_and_(0x1FFFF)
    x *= signed(SECOND)
    torch.bitwise_right_shift(x, 16, out=shifted)
    # Turning the upper bit of each half makes unsigned order signed order.
    x ^= shifted.bitwise_and_(0xFFFF).bitwise_xor_(signed(0x80008000))


def signed(word: int) -> int:
    """Return the signed number of 32 bits with the bits of ``word``, modulo 2³²."""
    return (word + WORD // 2) % WORD - WORD // 2


class StochasticDepth(nn.Module):
    """Drops whole examples, in a module that is trained without paribus."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with every example kept, and scaled, or zero; in evaluation ``x``."""
        return _skipped(x, self.p) if self.training else x

    def extra_repr(self) -> str:
        """Return the probability."""
        return f"p={self.p}"


def _skipped(x: Tensor, p: float) -> Tensor:
    """Return ``x`` with each example kept and scaled, or zero, as PyTorch's generator says."""
    shape = (len(x), *(1,) * (x.ndim - 1))
    kept = torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(1 - p)
    return x * kept.div_(1 - p)


# Dropping of their own, which a session does instead.
_DROPPING = (nn.Dropout, StochasticDepth)
