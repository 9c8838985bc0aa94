"""Vision transformers (Dosovitskiy et al. 2021) under torchvision's names.

Initialisation as published with torchvision: the patches' projection normal with variance
1 / fan_in (the published cut at ±2 is dozens of standard deviations away), attention and MLP
weights Xavier-uniform, MLP biases normal with 1e-6, positions normal with 0.02, class token and
head zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal, Self

from pydantic import Field, model_validator

from paribus.architectures.initializers import normal, xavier_uniform, zeros
from paribus.architectures.network import HEAD, INPUT, Network, Objective, Shape
from paribus.architectures.parameters import (
    AttentionDropout,
    Dropout,
    Parameters,
    StochasticDepth,
    of_block,
)
from paribus.architectures.tokens import TokenBuilder
from paribus.errors import SpecError

EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Sizes:
    """A vision transformer's sizes; ``patch`` in pixels, ``hidden`` and ``mlp`` are widths.

    ``gelu`` is the activation: ``exact``, or ``tanh`` for its approximation; ``eps`` that of every
    LayerNorm.
    """

    patch: int
    layers: int
    heads: int
    hidden: int
    mlp: int
    gelu: Literal["exact", "tanh"] = "exact"
    eps: float = EPSILON


@dataclass(frozen=True, slots=True)
class Noise:
    """Probabilities of what a vision transformer drops in training."""

    dropout: float
    attention: float
    depth: float


PUBLISHED: dict[str, Sizes] = {
    "vit_b_16": Sizes(16, 12, 12, 768, 3072),
    "vit_b_32": Sizes(32, 12, 12, 768, 3072),
    "vit_l_16": Sizes(16, 24, 16, 1024, 4096),
}


class PublishedViT(Parameters):
    """The vision transformers of published sizes."""

    architecture: Literal["vit_b_16", "vit_b_32", "vit_l_16"] = "vit_b_16"
    dropout: Dropout = 0.0
    attention_dropout: AttentionDropout = 0.0
    stochastic_depth: StochasticDepth = 0.0

    def _network(self, input_shape: Shape, classes: int, objective: Objective) -> Network:
        """Build the network; see ``ViT``."""
        sizes, noise = PUBLISHED[self.architecture], _noise(self)
        return _transformer(self, sizes, noise, input_shape, classes, objective)


class ViT(Parameters):
    """A vision transformer of any size; the defaults are the "tiny" one of Touvron et al. 2021."""

    architecture: Literal["vit"] = "vit"
    patch: int = Field(default=16, ge=1, le=1024, description="Height and width of a patch.")
    layers: int = Field(default=12, ge=1, le=128)
    heads: int = Field(default=3, ge=1, le=256, description="Attention heads; divide hidden.")
    hidden: int = Field(default=192, ge=1, le=65536, description="Width of a token.")
    mlp: int = Field(default=768, ge=1, le=262144, description="Width between the MLP's layers.")
    gelu: Literal["exact", "tanh"] = Field(
        default="exact", description="With the error function, or the tanh approximation of it."
    )
    eps: float = Field(
        default=EPSILON, gt=0, le=1, description="Of every LayerNorm; 1e-12 in the first published."
    )
    dropout: Dropout = 0.0
    attention_dropout: AttentionDropout = 0.0
    stochastic_depth: StochasticDepth = 0.0

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(
                f"heads = {self.heads} must divide hidden = {self.hidden}: every head takes "
                "the same share of a token"
            )
        return self

    def _network(self, input_shape: Shape, classes: int, objective: Objective) -> Network:
        """Build the network.

        Stages are ``patches``, ``layer0``, ``layer1``, …, ``norm`` and ``head``.
        """
        sizes = Sizes(
            self.patch, self.layers, self.heads, self.hidden, self.mlp, self.gelu, self.eps
        )
        return _transformer(self, sizes, _noise(self), input_shape, classes, objective)


def _noise(section: PublishedViT | ViT) -> Noise:
    return Noise(section.dropout, section.attention_dropout, section.stochastic_depth)


def sizes(network: Network) -> Sizes:
    """Return the sizes of a network that this module built."""
    published = PUBLISHED.get(network.architecture)
    if published:
        return published
    return Sizes(**{name: network.parameters[name] for name in Sizes.__dataclass_fields__})


def _transformer(
    section: Parameters,
    sizes: Sizes,
    noise: Noise,
    input_shape: Shape,
    classes: int,
    objective: Objective,
) -> Network:
    build = TokenBuilder(section.architecture, input_shape, objective)
    build.stage = "patches"
    node = _patches(build, sizes)
    node = build.dropout("encoder.dropout", node, noise.dropout)
    for layer in range(sizes.layers):
        build.stage = f"layer{layer}"
        name = f"encoder.layers.encoder_layer_{layer}"
        skipped = of_block(noise.depth, layer + 1, sizes.layers)
        node = _layer(build, name, node, sizes, noise, skipped)
    build.stage = "norm"
    node = build.layer_norm("encoder.ln", node, eps=sizes.eps)
    node = build.first_token("first", node)
    build.stage = HEAD
    build.linear("heads.head", node, classes, weight=zeros(), bias=zeros())
    return build.build(section.values(), classes)


def _patches(build: TokenBuilder, sizes: Sizes) -> str:
    """Cut the image into patches and make each a token with its position."""
    patch, shape = sizes.patch, build.input_shape
    if len(shape) == 3 and (shape[1] % patch or shape[2] % patch):
        raise SpecError(
            f"model.architecture = {build.architecture!r}: images of {shape[1]}×{shape[2]} do not "
            f"divide into patches of {patch}×{patch}. Use a multiple of {patch} (data.image.size) "
            "or another patch size"
        )
    drawn = normal(sqrt(1 / (shape[0] * patch**2)))
    node = build.conv2d(
        "conv_proj", INPUT, sizes.hidden, patch, stride=patch, weight=drawn, bias=zeros()
    )
    node = build.tokens("tokens", node)
    node = build.class_token("class_token", node, token=zeros())
    return build.position_embedding("encoder", node, embedding=normal(0.02))


def _layer(
    build: TokenBuilder, name: str, source: str, sizes: Sizes, noise: Noise, skipped: float
) -> str:
    """Add attention and MLP, each normalised before and added to what came in."""
    node = build.layer_norm(f"{name}.ln_1", source, eps=sizes.eps)
    node = build.attention(f"{name}.self_attention", node, sizes.heads, dropout=noise.attention)
    node = build.dropout(f"{name}.dropout", node, noise.dropout)
    node = build.stochastic_depth(f"{name}.stochastic_depth_1", node, skipped)
    middle = build.add(f"{name}.add_1", node, source)
    node = build.layer_norm(f"{name}.ln_2", middle, eps=sizes.eps)
    drawn, tiny = xavier_uniform(sizes.hidden, sizes.mlp), normal(1e-6)
    node = build.linear(f"{name}.mlp.0", node, sizes.mlp, weight=drawn, bias=tiny)
    node = build.gelu(f"{name}.mlp.1", node, tanh=sizes.gelu == "tanh")
    node = build.dropout(f"{name}.mlp.2", node, noise.dropout)
    node = build.linear(f"{name}.mlp.3", node, sizes.hidden, weight=drawn, bias=tiny)
    node = build.dropout(f"{name}.mlp.4", node, noise.dropout)
    node = build.stochastic_depth(f"{name}.stochastic_depth_2", node, skipped)
    return build.add(f"{name}.add_2", middle, node)
