"""A network as data: nodes in execution order, and the canonical tensors that follow from them.

Each architecture is written once, here in core, as a list of nodes. An adapter needs one small
table from operation names to its framework's operations and executes every architecture, present
and future; or it takes the framework's own published model and uses the nodes only for names and
stages. Canonical layouts are those of published checkpoints: images are channels first (C, H, W),
convolution weights (out, in / groups, height, width), linear weights (out, in).

Operations and their attributes (all sizes in elements):

    conv2d           in_channels out_channels kernel stride padding groups bias(0/1)
                     cross-correlation with symmetric zero padding; tensors weight, [bias]
    batch_norm       features eps momentum
                     training: biased batch variance normalises, unbiased variance n/(n−1) updates
                     running ← (1 − momentum)·running + momentum·batch
                     tensors weight, bias; statistics running_mean, running_var
    linear           in_features out_features bias(0/1), over the last axis; tensors weight, [bias];
                     transposed(0/1): 1 where the published weight is (in, out)
    relu, relu6, tanh  element-wise; relu6 is min(max(x, 0), 6), with gradient 0 at 0 and at 6
    max_pool2d       kernel stride padding; padding never wins (−∞)
    global_avg_pool  mean over height and width: (C, H, W) → (C,)
    adaptive_avg_pool2d  size: (C, H, W) → (C, size, size); output i is the mean of the rows
                     ⌊i·H / size⌋ … ⌈(i + 1)·H / size⌉ − 1, and so for columns: bins may overlap
    flatten          row-major over (C, H, W), whatever the adapter's own layout
    add              sum of its two inputs

Sequences are (tokens, width):

    tokens           (C, H, W) → (H·W, C), row by row
    class_token      puts a learned token before the others; its tensor (1, 1, width) has the
                     node's own name
    position_embedding  adds a learned value to every token; tensor pos_embedding (1, tokens, width)
    first_token      (tokens, width) → (width,)
    layer_norm       features eps: over the last axis, biased variance; tensors weight, bias
    gelu             tanh(0/1); 0: x·Φ(x) with the error function, 1: the tanh approximation
    attention        width heads: self-attention without mask; q, k, v are the thirds of
                     in_proj_weight·x + in_proj_bias, each cut into heads of width d; per head
                     softmax(q·kᵀ / √d)·v; the heads side by side go through out_proj.
                     tensors in_proj_weight (3·width, width), in_proj_bias, out_proj.weight,
                     out_proj.bias, as PyTorch's MultiheadAttention lays them out

A network of texts has token numbers as its input: (tokens,), or (tokens, 2) with each token's
segment beside it. Its length varies from batch to batch up to ``input_shape``; positions past a
text's end hold −1, are attended to by none, and reach no output:

    token_embedding  vocabulary width: INPUT → its rows of weight (vocabulary, width); −1 reads as 0
    segment_embedding  segments width: (x, INPUT) → x plus each token's row of weight
                     (segments, width); row 0 where INPUT has no segments
    token_positions  positions width: x plus the first rows of weight (positions, width)
    dot_product_attention  heads causal(0/1): (q, k, v, INPUT), or (qkv, INPUT) with the three side
                     by side; per head softmax(q·kᵀ / √d)·v over the tokens that INPUT has, with
                     ``causal`` over those not later; the heads side by side
    mean_tokens      (x, INPUT) → mean over the tokens that INPUT has
    last_token       (x, INPUT) → the last token that INPUT has
    predicted_tokens  (x, TARGETS) → the tokens at the plan's predicted positions; all of them where
                     the plan has no targets
    shared_linear    vocabulary bias(0/1): x·Wᵀ [+ bias] with the tensor W of the node's ``shares``

In training some values are dropped; which ones is computed from the plan's keys
(``paribus.noise``), and in evaluation, or without keys, nothing is:

    dropout          p: every value of the node is dropped by itself
    stochastic_depth p: all of an example's values or none (size 1 an example)
    attention, dot_product_attention  dropout, where it is given and above 0: of the shares after
                     the softmax, [heads, queries, keys] values an example
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, Literal

from paribus.errors import SpecError

INPUT = "input"
TARGETS = "targets"
HEAD = "head"

Shape = tuple[int, ...]
Objective = Literal["classification", "regression", "masked_lm", "causal_lm"]
LANGUAGE: tuple[Objective, ...] = ("masked_lm", "causal_lm")


@dataclass(frozen=True, slots=True)
class Initializer:
    """How core draws a tensor: ``scale`` times a draw of ``kind``, or a constant ``scale``.

    ``normal`` has standard deviation ``scale``; ``uniform`` covers (−scale, scale);
    ``truncated_normal`` is cut at two standard deviations; ``constant`` is ``scale`` everywhere.
    """

    kind: Literal["constant", "uniform", "normal", "truncated_normal"]
    scale: float


@dataclass(frozen=True, slots=True)
class Tensor:
    """One canonical tensor: a parameter that trains, or a statistic that a forward pass updates.

    ``role`` is what weight-decay rules speak of: ``weight``, ``bias`` or ``norm``.
    """

    name: str
    shape: Shape
    kind: Literal["parameter", "statistic"]
    role: Literal["weight", "bias", "norm"]
    initializer: Initializer
    node: str
    stage: str


@dataclass(frozen=True, slots=True)
class Node:
    """One operation; ``name`` is the canonical module name, the prefix of its tensors' names.

    ``shape`` is the output's shape for one example, channels first, without the batch; of a text
    it is the longest. ``shares`` names another node's tensor that this one multiplies with.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    stage: str
    shape: Shape
    attributes: Mapping[str, float] = field(default_factory=dict)
    shares: str = ""

    def size(self, attribute: str) -> int:
        """Return an integer attribute."""
        return int(self.attributes[attribute])


@dataclass(frozen=True)
class Network:
    """An architecture for one input shape and number of classes.

    ``parameters`` are the architecture's own (JSON values); together with ``architecture``,
    ``input_shape``, ``classes`` and ``objective`` they rebuild the same network through
    ``architectures.build``. ``classes`` are the outputs: of one example, or for language modelling
    of each predicted token.
    """

    architecture: str
    parameters: Mapping[str, Any]
    input_shape: Shape
    classes: int
    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]
    objective: Objective = "classification"

    @property
    def part(self) -> str:
        """Which part of its architecture it is; empty for a whole network."""
        return ""

    @cached_property
    def reads_tokens(self) -> bool:
        """Whether its input is a text's token numbers."""
        return any(node.op == "token_embedding" for node in self.nodes)

    @cached_property
    def noisy(self) -> tuple[str, ...]:
        """Names of the nodes that drop values in training, in the order of a plan's keys."""
        return tuple(
            node.name
            for node in self.nodes
            if node.op in ("dropout", "stochastic_depth") or node.attributes.get("dropout", 0) > 0
        )

    @cached_property
    def operations(self) -> frozenset[str]:
        """What a backend must be capable of: its nodes' operations.

        ``attention_dropout`` is one of its own: a backend may have attention without it.
        """
        dropped = any(node.attributes.get("dropout", 0) > 0 for node in self.nodes)
        return frozenset(
            (*(node.op for node in self.nodes), *(("attention_dropout",) if dropped else ()))
        )

    @cached_property
    def stages(self) -> tuple[str, ...]:
        """Stage names from input to output; the last is always ``head``."""
        return tuple(dict.fromkeys(node.stage for node in self.nodes))

    @cached_property
    def node(self) -> Mapping[str, Node]:
        """Nodes by name."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def parameter_count(self) -> int:
        """Number of trainable scalars (statistics not counted)."""
        return sum(prod(t.shape) for t in self.tensors.values() if t.kind == "parameter")

    def trainable(self, freeze: str) -> tuple[str, ...]:
        """Return the parameters left free by ``freeze``, in canonical order.

        ``freeze`` is ``none``, ``body`` (all but the head), or a stage's name: that stage and
        everything above it stay free, everything below is frozen.

        Raises:
            SpecError: no such stage.
        """
        if freeze == "none":
            free = set(self.stages)
        else:
            stage = HEAD if freeze == "body" else freeze
            if stage not in self.stages:
                allowed = ", ".join(("none", "body", *self.stages))
                raise SpecError(
                    f"freeze = {freeze!r}: {self.architecture} has no such stage; "
                    f"allowed: {allowed}"
                )
            free = set(self.stages[self.stages.index(stage) :])
        names = tuple(
            name for name, t in self.tensors.items() if t.kind == "parameter" and t.stage in free
        )
        if not names:
            raise SpecError(
                f"freeze = {freeze!r} leaves nothing to train: the head of {self.architecture} "
                f"for {self.objective} has no tensors of its own; name a stage: "
                f"{', '.join(self.stages[:-1])}"
            )
        return names
