"""The operations on texts as modules: token numbers [b, T] or [b, T, 2], vectors [b, T, width].

Padding is always behind a text, so causal attention needs no mask for it: no token looks behind.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paribus.architectures import Node
from paribus.backends.torch import dense
from paribus.backends.torch.noise import Attention


def numbers(tokens: Tensor) -> Tensor:
    """Return the token numbers [b, T], −1 past the end, without the segments."""
    return tokens[..., 0] if tokens.ndim == 3 else tokens


def lengths(tokens: Tensor) -> Tensor:
    """Return how many tokens each text has: [b]."""
    return (numbers(tokens) >= 0).sum(dim=1)


def seen(tokens: Tensor) -> Tensor | None:
    """Return which tokens are attended to, bool [b, 1, 1, T]; None for all of them.

    Attention without a mask is faster. On a GPU nobody looks: the host would have to wait.
    """
    real = numbers(tokens) >= 0
    if tokens.device.type == "cpu" and bool(real.all()):
        return None
    return real[:, None, None, :]


def at_positions(x: Tensor, positions: Tensor) -> Tensor:
    """Return the vectors [b, M, width] of ``x`` [b, T, width] at ``positions`` [b, M]."""
    return x.gather(1, positions.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def last_token(x: Tensor, tokens: Tensor) -> Tensor:
    """Return the vector of each text's last token: [b, width]."""
    return at_positions(x, lengths(tokens).sub(1).unsqueeze(1)).squeeze(1)


class TokenEmbedding(nn.Embedding):
    """A learned vector per token: [b, T] → [b, T, width]."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Return each token's vector; padding gets some vector that no one reads."""
        return super().forward(numbers(tokens).clamp_min(0))


class SegmentEmbedding(nn.Embedding):
    """Adds a learned vector per segment."""

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:  # type: ignore[override]
        """Return ``x`` with segments."""
        return x + (super().forward(tokens[..., 1]) if tokens.ndim == 3 else self.weight[0])


class TokenPositions(nn.Embedding):
    """Adds a learned vector per position."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with positions."""
        return x + self.weight[: x.shape[1]]


class DotProductAttention(nn.Module):
    """Attention between queries, keys and values [b, T, width], or the three side by side."""

    def __init__(self, heads: int, causal: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self._heads, self._causal, self._dropout = heads, causal, dropout
        self.lent: Attention | None = None

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the attended values; the last input is the token numbers."""
        *parts, tokens = inputs
        queries, keys, values = parts if len(parts) == 3 else parts[0].chunk(3, dim=-1)
        mask = None if self._causal else seen(tokens)
        cut = (self._cut(queries), self._cut(keys), self._cut(values))
        if self.lent is not None:
            attended = self.lent(*cut, mask, self._causal)
        else:
            dropout = self._dropout if self.training else 0.0
            attended = F.scaled_dot_product_attention(*cut, mask, dropout, self._causal)
        return attended.transpose(1, 2).flatten(2)

    def _cut(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self._heads, -1).transpose(1, 2)


class MeanTokens(nn.Module):
    """The mean over a text's tokens: [b, T, width] → [b, width]."""

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Return the mean."""
        real = (numbers(tokens) >= 0).unsqueeze(-1)
        return (x * real).sum(dim=1) / real.sum(dim=1)


class LastToken(nn.Module):
    """The last token of a text: [b, T, width] → [b, width]."""

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Return its vector."""
        return last_token(x, tokens)


class PredictedTokens(nn.Module):
    """The tokens that are predicted: [b, T, width] → [b, M, width]."""

    def forward(self, x: Tensor, positions: Tensor | None) -> Tensor:
        """Return the vectors at ``positions``, all where there are none."""
        return x if positions is None else at_positions(x, positions)


class SharedLinear(nn.Module):
    """A product with a table of another module's."""

    def __init__(self, vocabulary: int, bias: bool) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(vocabulary)) if bias else None

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return one output per row of ``weight``."""
        return dense.linear(x, weight, self.bias)


class TransposedLinear(nn.Module):
    """A linear layer whose weight is (in, out)."""

    def __init__(self, in_features: int, out_features: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(in_features, out_features))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Return x·W + bias."""
        return dense.linear(x, self.weight.t(), self.bias)


OPERATIONS: dict[str, Callable[[Node], nn.Module]] = {
    "token_embedding": lambda node: TokenEmbedding(node.size("vocabulary"), node.size("width")),
    "segment_embedding": lambda node: SegmentEmbedding(node.size("segments"), node.size("width")),
    "token_positions": lambda node: TokenPositions(node.size("positions"), node.size("width")),
    "dot_product_attention": lambda node: DotProductAttention(
        node.size("heads"), bool(node.size("causal")), node.attributes.get("dropout", 0.0)
    ),
    "mean_tokens": lambda node: MeanTokens(),
    "last_token": lambda node: LastToken(),
    "predicted_tokens": lambda node: PredictedTokens(),
    "shared_linear": lambda node: SharedLinear(node.size("vocabulary"), bool(node.size("bias"))),
}
