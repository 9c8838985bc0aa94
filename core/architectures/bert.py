"""BERT (Devlin et al. 2019) of any size, under Hugging Face's names without the prefix ``bert.``.

Initialisation as published with it: weights normal with standard deviation 0.02 (not cut, as
Hugging Face draws them), biases zero, LayerNorm 1 and 0.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from paribus.architectures.initializers import normal
from paribus.architectures.network import HEAD, LANGUAGE, Network, Objective, Shape
from paribus.architectures.parameters import AttentionDropout, Dropout
from paribus.architectures.texts import TextBuilder, TextParameters, require_whole_heads

SEGMENTS = 2
WORDS = "embeddings.word_embeddings"


class BERT(TextParameters):
    """A bidirectional transformer for texts; the defaults are those of BERT base."""

    usual: ClassVar[tuple[dict[str, Any], Shape]] = ({"vocabulary": 30522}, (512,))
    objectives: ClassVar[tuple[Objective, ...]] = ("classification", "regression", "masked_lm")

    architecture: Literal["bert"] = "bert"
    layers: int = Field(default=12, ge=1, le=128)
    heads: int = Field(default=12, ge=1, le=256, description="Attention heads; divide hidden.")
    hidden: int = Field(default=768, ge=1, le=65536, description="Width of a token.")
    intermediate: int = Field(
        default=3072, ge=1, le=262144, description="Width between a layer's two products."
    )
    gelu: Literal["exact", "tanh"] = Field(
        default="exact", description="With the error function, or the tanh approximation of it."
    )
    eps: float = Field(default=1e-12, gt=0, le=1, description="Of every LayerNorm.")
    pooling: Literal["cls", "mean"] = Field(
        default="cls",
        description="What stands for a text: the first token through a layer, or the mean.",
    )
    dropout: Dropout = 0.0
    attention_dropout: AttentionDropout = 0.0

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        require_whole_heads(self.heads, self.hidden)
        return self

    def _network(self, input_shape: Shape, classes: int, objective: Objective) -> Network:
        """Build the network.

        Stages are ``embeddings``, ``layer0``, ``layer1``, …, ``pooler`` (pooling = cls) and
        ``head``.
        """
        build = TextBuilder(self.architecture, input_shape, objective)
        build.require_positions(self.positions)
        build.stage = "embeddings"
        node = build.token_embedding(WORDS, self.known_vocabulary, self.hidden)
        node = build.segment_embedding("embeddings.token_type_embeddings", node, SEGMENTS)
        node = build.token_positions(
            "embeddings.position_embeddings", node, self.positions, weight=normal(build.deviation)
        )
        node = build.layer_norm("embeddings.LayerNorm", node, eps=self.eps)
        node = build.dropout("embeddings.dropout", node, self.dropout)
        for layer in range(self.layers):
            build.stage = f"layer{layer}"
            node = self._layer(build, f"encoder.layer.{layer}", node)
        if objective in LANGUAGE:
            self._language_head(build, node)
        else:
            node = self._pooled(build, node)
            build.stage = HEAD
            node = build.dropout("dropout", node, self.dropout)
            build.dense("classifier", node, classes)
        words = objective in LANGUAGE
        return build.build(self.values(), self.known_vocabulary if words else classes)

    def _layer(self, build: TextBuilder, name: str, source: str) -> str:
        """Add attention and two products, each added to what came in and then normalised."""
        attention = f"{name}.attention.self"
        parts = tuple(
            build.dense(f"{attention}.{part}", source, self.hidden)
            for part in ("query", "key", "value")
        )
        node = build.dot_product_attention(
            attention, parts, self.heads, causal=False, dropout=self.attention_dropout
        )
        node = build.dense(f"{name}.attention.output.dense", node, self.hidden)
        node = build.dropout(f"{name}.attention.output.dropout", node, self.dropout)
        node = build.add(f"{name}.attention.output", node, source)
        middle = build.layer_norm(f"{name}.attention.output.LayerNorm", node, eps=self.eps)
        node = build.dense(f"{name}.intermediate.dense", middle, self.intermediate)
        node = build.gelu(f"{name}.intermediate", node, tanh=self.gelu == "tanh")
        node = build.dense(f"{name}.output.dense", node, self.hidden)
        node = build.dropout(f"{name}.output.dropout", node, self.dropout)
        node = build.add(f"{name}.output", node, middle)
        return build.layer_norm(f"{name}.output.LayerNorm", node, eps=self.eps)

    def _pooled(self, build: TextBuilder, source: str) -> str:
        build.stage = "pooler"
        if self.pooling == "mean":
            return build.pooled("pooler", "mean_tokens", source)
        node = build.first_token("pooler.first", source)
        node = build.dense("pooler.dense", node, self.hidden)
        return build.elementwise("pooler", "tanh", node)

    def _language_head(self, build: TextBuilder, source: str) -> None:
        build.stage = HEAD
        node = build.predicted_tokens("cls", source)
        name = "cls.predictions.transform"
        node = build.dense(f"{name}.dense", node, self.hidden)
        node = build.gelu(name, node, tanh=self.gelu == "tanh")
        node = build.layer_norm(f"{name}.LayerNorm", node, eps=self.eps)
        build.shared_linear("cls.predictions", node, f"{WORDS}.weight", bias=True)
