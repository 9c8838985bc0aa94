"""Sequences of tokens: what transformers need beyond images and vectors."""

from __future__ import annotations

from paribus.architectures.builder import Builder
from paribus.architectures.initializers import fan_in_uniform, xavier_uniform, zeros
from paribus.architectures.network import Initializer, Shape


class TokenBuilder(Builder):
    """A ``Builder`` with the operations on sequences; a sequence has the shape (tokens, width)."""

    def tokens(self, name: str, source: str) -> str:
        """Add the pixels of an image as a sequence, row by row."""
        channels, height, width = self._image(source, name)
        self._add(name, "tokens", (source,), (height * width, channels))
        return name

    def class_token(self, name: str, source: str, *, token: Initializer) -> str:
        """Put a learned token before the others; its tensor is called ``name``."""
        count, width = self._sequence(source)
        self._add(name, "class_token", (source,), (count + 1, width))
        self._tensor(name, "", (1, 1, width), "weight", token)
        return name

    def position_embedding(self, name: str, source: str, *, embedding: Initializer) -> str:
        """Add a learned value to every token."""
        count, width = self._sequence(source)
        self._add(name, "position_embedding", (source,), (count, width))
        self._tensor(name, "pos_embedding", (1, count, width), "weight", embedding)
        return name

    def first_token(self, name: str, source: str) -> str:
        """Keep the first token alone."""
        self._add(name, "first_token", (source,), self._sequence(source)[1:])
        return name

    def layer_norm(self, name: str, source: str, *, eps: float) -> str:
        """Normalise over the last axis."""
        features = self.shape(source)[-1]
        self._add(name, "layer_norm", (source,), self.shape(source), features=features, eps=eps)
        self._tensor(name, "weight", (features,), "norm", Initializer("constant", 1.0))
        self._tensor(name, "bias", (features,), "norm", zeros())
        return name

    def gelu(self, name: str, source: str, *, tanh: bool = False) -> str:
        """Add GELU (Hendrycks & Gimpel 2016), exact or in its tanh approximation."""
        self._add(name, "gelu", (source,), self.shape(source), tanh=int(tanh))
        return name

    def attention(self, name: str, source: str, heads: int, *, dropout: float = 0.0) -> str:
        """Add self-attention, drawn as PyTorch's MultiheadAttention draws it."""
        _, width = shape = self._sequence(source)
        if width % heads:
            raise ValueError(f"{name}: {heads} heads do not divide a width of {width}")
        self._add(name, "attention", (source,), shape, dropout=dropout, width=width, heads=heads)
        drawn = xavier_uniform(width, 3 * width)
        self._tensor(name, "in_proj_weight", (3 * width, width), "weight", drawn)
        self._tensor(name, "in_proj_bias", (3 * width,), "bias", zeros())
        self._tensor(name, "out_proj.weight", (width, width), "weight", fan_in_uniform(width))
        self._tensor(name, "out_proj.bias", (width,), "bias", zeros())
        return name

    def _sequence(self, source: str) -> Shape:
        shape = self.shape(source)
        if len(shape) != 2:
            raise ValueError(f"{source!r} of shape {shape} is no sequence of tokens")
        return shape
