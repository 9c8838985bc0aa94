"""Networks that drop values in training, plans with keys, and what the definitions make of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cases
import numpy as np

from paribus import noise, reference
from paribus.architectures import Network, build
from paribus.plan import TrainPlan

P = {"dropout": 0.1}
BOTH = {**P, "attention_dropout": 0.15}
VIT = {**cases.TINY, **BOTH, "stochastic_depth": 0.4}
WORDS = {**cases.WORDS, **BOTH}

# Odd numbers of values, and more than a word's two.
NETWORKS = {
    "mlp": build("mlp", {"hidden": [7, 5], "activation": "tanh", **P}, (6,), 3),
    "cnn": build("cnn", {"channels": [4, 6], "hidden": 5, **P}, (2, 8, 8), 3),
    "vgg11_bn": build("vgg11_bn", {"hidden": 13, **P}, (3, 32, 32), 3),
    "mobilenet_v2": build("mobilenet_v2", {"width": 0.25, **P}, (3, 32, 32), 3),
    "resnet18": build("resnet18", {"stochastic_depth": 0.5}, (3, 32, 32), 4),
    "vit": build("vit", VIT, (3, 8, 8), 3),
    "wide vit": build("vit", {**VIT, "gelu": "tanh"}, (3, 8, 12), 3),
    "bert": build("bert", WORDS, (cases.LENGTH,), 3),
    "mean bert": build("bert", {**WORDS, "pooling": "mean"}, (cases.LENGTH,), 3),
    "masked bert": build("bert", WORDS, (cases.LENGTH,), 40, "masked_lm"),
    "gpt2": build("gpt2", WORDS, (cases.LENGTH,), 3),
    "causal gpt2": build("gpt2", WORDS, (cases.LENGTH,), 40, "causal_lm"),
}
EXAMPLES = 32


def data(network: Network) -> tuple[cases.Array, cases.Array | None]:
    """Return stored examples and their labels, where the objective has labels."""
    labelled = not network.objective.endswith("lm")
    return cases.stored(network, EXAMPLES), cases.labels(network, EXAMPLES) if labelled else None


def keyed(network: Network, plan: TrainPlan, seed: int = 3) -> TrainPlan:
    """Return a plan with keys for the network's nodes."""
    return replace(plan, noise=noise.keys(seed, "test", 0, plan.steps, len(network.noisy)))


def plan(network: Network, steps: int, shards: int, batch: int, **options: Any) -> TrainPlan:
    """Return a plan over ``data(network)`` with keys."""
    x, _ = data(network)
    rows = cases.batches(steps, shards, batch, EXAMPLES)
    return keyed(network, cases.steps(network, rows, x, **options))


def loss(network: Network, given: TrainPlan, tensors: dict[str, cases.Array]) -> float:
    """Return the loss of a plan's first step by the definitions, its shards one after another."""
    x, y = data(network)
    keys = None if given.noise is None else given.noise[0]
    total, first = 0.0, 0
    for shard, count in enumerate(given.counts[0].tolist()):
        at = (0, shard, slice(count))
        stored = x[given.indices[at]]
        inputs = reference.preprocess(stored, given.preprocess)
        labels, counts, positions = None, None, None
        if given.targets is not None:
            own = given.targets
            inputs, positions = own.tokens[at], own.positions[at]
            labels, counts = own.labels[at], own.counts[at]
        elif network.objective == "causal_lm":
            labels = stored[:, 1 : network.input_shape[0] + 1].astype(np.int64)
        elif y is not None:
            labels = y[given.indices[at]]
        assert labels is not None
        outputs, statistics = reference.forward(
            network, tensors, inputs, training=True, positions=positions, noise=keys,
            first_row=first,
        )  # fmt: skip
        tensors = {**tensors, **statistics}
        losses = reference.row_losses(network, outputs, labels, counts)
        total += float((given.weights[at] * losses).sum())
        first += count
    return total
