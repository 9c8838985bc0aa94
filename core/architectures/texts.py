"""Writing a network of texts down: token numbers in, and what transformers do with them."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field

from paribus.architectures.initializers import normal, zeros
from paribus.architectures.network import INPUT, TARGETS, Initializer
from paribus.architectures.parameters import Parameters
from paribus.architectures.tokens import TokenBuilder
from paribus.errors import SpecError


class TextBuilder(TokenBuilder):
    """A ``TokenBuilder`` whose input is (tokens,); weights are drawn normal with ``deviation``."""

    deviation = 0.02

    def require_positions(self, positions: int) -> None:
        """Require that a text has no more tokens than there are positions.

        Raises:
            SpecError: it has.
        """
        if self.input_shape[0] > positions:
            raise SpecError(
                f"data.text.length = {self.input_shape[0]}: the model has {positions} positions "
                f"(model.positions); allowed: up to {positions}"
            )

    def token_embedding(self, name: str, vocabulary: int, width: int) -> str:
        """Add a learned vector per token of the vocabulary."""
        shape = (self.input_shape[0], width)
        self._add(name, "token_embedding", (INPUT,), shape, vocabulary=vocabulary, width=width)
        self._tensor(name, "weight", (vocabulary, width), "weight", normal(self.deviation))
        return name

    def segment_embedding(self, name: str, source: str, segments: int) -> str:
        """Add a learned vector per segment: the first text of a pair, or the second."""
        shape = self._sequence(source)
        self._add(name, "segment_embedding", (source, INPUT), shape, segments=segments,
                  width=shape[1])  # fmt: skip
        self._tensor(name, "weight", (segments, shape[1]), "weight", normal(self.deviation))
        return name

    def token_positions(
        self, name: str, source: str, positions: int, *, weight: Initializer
    ) -> str:
        """Add a learned vector per position."""
        shape = self._sequence(source)
        self._add(name, "token_positions", (source,), shape, positions=positions, width=shape[1])
        self._tensor(name, "weight", (positions, shape[1]), "weight", weight)
        return name

    def dense(self, name: str, source: str, width: int, *, deviation: float | None = None) -> str:
        """Add a linear layer in the published form: normal weights, zero bias."""
        drawn = normal(self.deviation if deviation is None else deviation)
        return self.linear(name, source, width, weight=drawn, bias=zeros())

    def dot_product_attention(
        self,
        name: str,
        sources: tuple[str, ...],
        heads: int,
        *,
        causal: bool,
        dropout: float = 0.0,
    ) -> str:
        """Add attention between queries, keys and values, or the three side by side."""
        count, width = self._sequence(sources[0])
        width = width // 3 if len(sources) == 1 else width
        if width % heads:
            raise ValueError(f"{name}: {heads} heads do not divide a width of {width}")
        self._add(name, "dot_product_attention", (*sources, INPUT), (count, width), heads=heads,
                  width=width, causal=int(causal), dropout=dropout)  # fmt: skip
        return name

    def pooled(self, name: str, op: str, source: str) -> str:
        """Add ``mean_tokens`` or ``last_token``: one vector for a text."""
        self._add(name, op, (source, INPUT), self._sequence(source)[1:])
        return name

    def predicted_tokens(self, name: str, source: str) -> str:
        """Keep the tokens that are to be predicted."""
        self._add(name, "predicted_tokens", (source, TARGETS), self._sequence(source))
        return name

    def shared_linear(self, name: str, source: str, shares: str, *, bias: bool) -> str:
        """Multiply with another node's table, one output per row of it."""
        (vocabulary, _), shape = self._tensors[shares].shape, self._sequence(source)
        self._add(name, "shared_linear", (source,), (shape[0], vocabulary), shares=shares,
                  vocabulary=vocabulary, bias=int(bias))  # fmt: skip
        if bias:
            self._tensor(name, "bias", (vocabulary,), "bias", zeros())
        return name


class TextParameters(Parameters):
    """Parameters of an architecture that reads texts."""

    reads: ClassVar[Literal["values", "tokens"]] = "tokens"

    vocabulary: int | None = Field(
        default=None, ge=2, le=10_000_000, description="Tokens; none: those of the tokenizer."
    )
    positions: int = Field(default=512, ge=2, le=1_000_000, description="Longest text, in tokens.")

    @property
    def known_vocabulary(self) -> int:
        """The vocabulary's size.

        Raises:
            SpecError: nothing has said it yet.
        """
        if self.vocabulary is None:
            raise SpecError(
                f"model.vocabulary: {self.architecture} needs the number of tokens; the data's "
                "tokenizer gives it, or set it"
            )
        return self.vocabulary

    def of_vocabulary(self, size: int | None) -> Self:
        """Return the parameters for a tokenizer of ``size`` tokens; see ``Parameters``."""
        super().of_vocabulary(size)
        if self.vocabulary is None:
            return self.model_copy(update={"vocabulary": size})
        if size is not None and size > self.vocabulary:
            raise SpecError(
                f"the tokenizer has {size} tokens, but model.vocabulary = {self.vocabulary}; take "
                "the checkpoint's own tokenizer (data.tokenizer.path), or a larger vocabulary"
            )
        return self


def require_whole_heads(heads: int, hidden: int) -> None:
    """Require that every head takes the same share of a token.

    Raises:
        ValueError: it does not.
    """
    if hidden % heads:
        raise ValueError(
            f"heads = {heads} must divide hidden = {hidden}: every head takes the same share of a "
            "token"
        )
