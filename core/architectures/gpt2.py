"""GPT-2 (Radford et al. 2019) of any size, under Hugging Face's names without ``transformer.``.

Its published weights of products are (in, out). Initialisation as published: normal with standard
deviation 0.02, the last product of each of the 2·layers residual branches divided by √(2·layers),
biases zero, LayerNorm 1 and 0.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from paribus.architectures.initializers import normal, zeros
from paribus.architectures.network import HEAD, LANGUAGE, Network, Objective, Shape
from paribus.architectures.parameters import AttentionDropout, Dropout
from paribus.architectures.texts import TextBuilder, TextParameters, require_whole_heads


class GPT2(TextParameters):
    """A causal transformer for texts; the defaults are those of the smallest published GPT-2.

    For classification and regression the last token of a text stands for it.
    """

    usual: ClassVar[tuple[dict[str, Any], Shape]] = ({"vocabulary": 50257}, (1024,))
    objectives: ClassVar[tuple[Objective, ...]] = ("classification", "regression", "causal_lm")

    architecture: Literal["gpt2"] = "gpt2"
    positions: int = Field(default=1024, ge=2, le=1_000_000, description="Longest text, in tokens.")
    layers: int = Field(default=12, ge=1, le=128)
    heads: int = Field(default=12, ge=1, le=256, description="Attention heads; divide hidden.")
    hidden: int = Field(default=768, ge=1, le=65536, description="Width of a token.")
    intermediate: int = Field(
        default=3072, ge=1, le=262144, description="Width between a layer's two products."
    )
    gelu: Literal["exact", "tanh"] = Field(
        default="tanh", description="With the error function, or the tanh approximation of it."
    )
    eps: float = Field(default=1e-5, gt=0, le=1, description="Of every LayerNorm.")
    dropout: Dropout = 0.0
    attention_dropout: AttentionDropout = 0.0

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        require_whole_heads(self.heads, self.hidden)
        return self

    def _network(self, input_shape: Shape, classes: int, objective: Objective) -> Network:
        """Build the network; stages are ``embeddings``, ``layer0`` …, ``norm`` and ``head``."""
        build = TextBuilder(self.architecture, input_shape, objective)
        build.require_positions(self.positions)
        build.stage = "embeddings"
        node = build.token_embedding("wte", self.known_vocabulary, self.hidden)
        node = build.token_positions("wpe", node, self.positions, weight=normal(build.deviation))
        node = build.dropout("drop", node, self.dropout)
        for layer in range(self.layers):
            build.stage = f"layer{layer}"
            node = self._layer(build, f"h.{layer}", node)
        build.stage = "norm"
        node = build.layer_norm("ln_f", node, eps=self.eps)
        if objective not in LANGUAGE:
            node = build.pooled("last", "last_token", node)
        build.stage = HEAD
        if objective in LANGUAGE:
            node = build.predicted_tokens("predicted", node)
            build.shared_linear("lm_head", node, "wte.weight", bias=False)
        else:
            build.linear("score", node, classes, weight=normal(build.deviation), bias=None)
        words = objective in LANGUAGE
        return build.build(self.values(), self.known_vocabulary if words else classes)

    def _layer(self, build: TextBuilder, name: str, source: str) -> str:
        """Add attention and two products, each normalised before and added to what came in."""
        last = build.deviation / sqrt(2 * self.layers)
        node = build.layer_norm(f"{name}.ln_1", source, eps=self.eps)
        node = self._product(build, f"{name}.attn.c_attn", node, 3 * self.hidden, build.deviation)
        node = build.dot_product_attention(
            f"{name}.attn", (node,), self.heads, causal=True, dropout=self.attention_dropout
        )
        node = self._product(build, f"{name}.attn.c_proj", node, self.hidden, last)
        node = build.dropout(f"{name}.attn.resid_dropout", node, self.dropout)
        middle = build.add(f"{name}.add_1", node, source)
        node = build.layer_norm(f"{name}.ln_2", middle, eps=self.eps)
        node = self._product(build, f"{name}.mlp.c_fc", node, self.intermediate, build.deviation)
        node = build.gelu(f"{name}.mlp", node, tanh=self.gelu == "tanh")
        node = self._product(build, f"{name}.mlp.c_proj", node, self.hidden, last)
        node = build.dropout(f"{name}.mlp.dropout", node, self.dropout)
        return build.add(f"{name}.add_2", node, middle)

    def _product(
        self, build: TextBuilder, name: str, source: str, width: int, deviation: float
    ) -> str:
        return build.linear(
            name, source, width, weight=normal(deviation), bias=zeros(), transposed=True
        )
