"""The operations on sequences of tokens [b, tokens, width] as modules."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from paribus.architectures import Node


class Tokens(nn.Module):
    """Pixels as tokens: [b, C, H, W] → [b, H·W, C]."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the pixels row by row."""
        return x.flatten(2).transpose(1, 2)


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


OPERATIONS: dict[str, Callable[[Node], nn.Module]] = {
    "tokens": lambda node: Tokens(),
    "class_token": lambda node: ClassToken(node.shape[1]),
    "position_embedding": lambda node: PositionEmbedding(*node.shape),
    "first_token": lambda node: FirstToken(),
    "layer_norm": lambda node: nn.LayerNorm(node.size("features"), eps=node.attributes["eps"]),
    "gelu": lambda node: nn.GELU(approximate="tanh" if node.size("tanh") else "none"),
    "attention": lambda node: SelfAttention(
        node.size("width"), node.size("heads"), batch_first=True
    ),
}
