"""The operations on sequences of tokens [b, tokens, width] as modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paribus.architectures import Node
from paribus.backends.torch import dense
from paribus.backends.torch.noise import Attention
from paribus.backends.torch.texts import DotProductAttention


class Tokens(nn.Module):
    """Pixels as tokens: [b, C, H, W] → [b, H·W, C].

    Args:
        in_order: whether a token's values are neighbours in memory, as those of a sequence that
            comes from another layer; kernels are chosen by the order.
    """

    def __init__(self, in_order: bool = False) -> None:
        super().__init__()
        self._in_order = in_order

    def forward(self, x: Tensor) -> Tensor:
        """Return the pixels row by row."""
        tokens = x.flatten(2).transpose(1, 2)
        return tokens.contiguous() if self._in_order else tokens


class ClassToken(nn.Module):
    """Puts a learned token before the others."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return [b, 1 + tokens, width]."""
        return torch.cat([self.value.expand(len(x), -1, -1), x], dim=1)


class PositionEmbedding(nn.Module):
    """Adds a learned value to every token."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.pos_embedding = nn.Parameter(torch.zeros(1, tokens, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with positions."""
        return x + self.pos_embedding


class FirstToken(nn.Module):
    """Keeps the first token: [b, tokens, width] → [b, width]."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the first token."""
        return x[:, 0]


class SelfAttention(nn.MultiheadAttention):
    """PyTorch's attention of a sequence to itself."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Return the attended tokens."""
        attended: Tensor = super().forward(x, x, x, need_weights=False)[0]
        return attended


def attach(module: nn.Module) -> list[Callable[[], None]]:
    """Let PyTorch's attention multiply by ``dense``, where that is faster.

    Args:
        module: with memory, none of whose attention drops anything.

    Returns:
        What takes it back, a function for each.
    """
    if not dense.mkl_is_slow():
        return []
    own = [part for part in module.modules() if isinstance(part, nn.MultiheadAttention)]
    return [lend(part, _attended) for part in own]


def _attended(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, causal: bool
) -> Tensor:
    return F.scaled_dot_product_attention(queries, keys, values, mask, is_causal=causal)


def lend(module: nn.Module, attention: Attention) -> Callable[[], None]:
    """Make an attention module compute with ``attention``; see ``paribus.backends.torch.noise``."""
    if isinstance(module, DotProductAttention):
        module.lent = attention

        def take_back() -> None:
            module.lent = None

        return take_back
    assert isinstance(module, nn.MultiheadAttention)
    bare = isinstance(module, SelfAttention)

    def forward(x: Tensor, *rest: Tensor, need_weights: bool = False) -> Any:
        projected = dense.linear(x, module.in_proj_weight, module.in_proj_bias)
        cut = [
            part.view(*part.shape[:2], module.num_heads, -1).transpose(1, 2)
            for part in projected.chunk(3, dim=-1)
        ]
        attended = attention(cut[0], cut[1], cut[2], None, False).transpose(1, 2).flatten(2)
        found = dense.linear(attended, module.out_proj.weight, module.out_proj.bias)
        return found if bare else (found, None)

    # An attribute of this one module, before the class's own.
    setattr(module, "forward", forward)  # noqa: B010 (its signature is not the class's)
    return lambda: delattr(module, "forward")


OPERATIONS: dict[str, Callable[[Node], nn.Module]] = {
    "tokens": lambda node: Tokens(),
    "class_token": lambda node: ClassToken(node.shape[1]),
    "position_embedding": lambda node: PositionEmbedding(*node.shape),
    "first_token": lambda node: FirstToken(),
    "layer_norm": lambda node: nn.LayerNorm(node.size("features"), eps=node.attributes["eps"]),
    "gelu": lambda node: nn.GELU(approximate="tanh" if node.size("tanh") else "none"),
    "attention": lambda node: SelfAttention(
        node.size("width"),
        node.size("heads"),
        node.attributes.get("dropout", 0.0),
        batch_first=True,
    ),
}
