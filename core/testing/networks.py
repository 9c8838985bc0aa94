"""The networks that conformance is shown on: every operation and architecture, as small as it gets.

The published architectures keep their published widths where they have no other (ResNet-18 has 11
million parameters whatever the image), so their images are small.
"""

from __future__ import annotations

from paribus.architectures import Network, build

TINY = {"patch": 4, "layers": 2, "heads": 2, "hidden": 8, "mlp": 12}
WORDS = {"vocabulary": 40, "positions": 12, "layers": 2, "heads": 2, "hidden": 8,
         "intermediate": 12}  # fmt: skip
LENGTH = 10
P = {"dropout": 0.1, "attention_dropout": 0.15}

NETWORKS: dict[str, Network] = {
    "cnn": build("cnn", {"channels": [4, 6]}, (2, 8, 8), 3),
    "plain": build(
        "cnn",
        {"channels": [4, 6], "batch_norm": False, "pooling": "average", "hidden": 5},
        (2, 8, 8),
        3,
    ),
    "mlp": build("mlp", {"hidden": [7, 5], "activation": "tanh"}, (6,), 3),
    "mlp_regression": build("mlp", {"hidden": [7], "activation": "relu"}, (6,), 2, "regression"),
    "resnet18": build("resnet18", {}, (3, 32, 32), 4),
    "vgg11_bn": build("vgg11_bn", {"hidden": 12}, (3, 32, 32), 3),
    # Three rows and five columns make seven bins each way: bins that overlap.
    "wide_vgg11": build("vgg11", {"hidden": 4}, (3, 96, 160), 3),
    "mobilenet_v2": build("mobilenet_v2", {"width": 0.25}, (3, 32, 32), 3),
    "vit": build("vit", TINY, (3, 8, 8), 3),
    # Not square and with the other GELU: published models have none like it.
    "wide_vit": build("vit", {**TINY, "gelu": "tanh"}, (3, 8, 12), 3),
    "bert": build("bert", WORDS, (LENGTH,), 3),
    "mean_bert": build("bert", {**WORDS, "pooling": "mean", "gelu": "tanh"}, (LENGTH,), 3),
    "bert_regression": build("bert", WORDS, (LENGTH,), 2, "regression"),
    "masked_bert": build("bert", WORDS, (LENGTH,), 40, "masked_lm"),
    "gpt2": build("gpt2", WORDS, (LENGTH,), 3),
    "causal_gpt2": build("gpt2", WORDS, (LENGTH,), 40, "causal_lm"),
    # Odd numbers of values, whose last word serves one.
    "dropped_mlp": build("mlp", {"hidden": [7, 5], "dropout": 0.3}, (6,), 3),
    "dropped_cnn": build("cnn", {"channels": [4, 6], "hidden": 5, "dropout": 0.3}, (2, 8, 8), 3),
    "dropped_vit": build("vit", {**TINY, **P, "stochastic_depth": 0.4}, (3, 8, 8), 3),
    "dropped_bert": build("bert", {**WORDS, **P}, (LENGTH,), 3),
    "dropped_gpt2": build("gpt2", {**WORDS, **P}, (LENGTH,), 40, "causal_lm"),
}

# Those whose tensors are too many to ship; what is stored of them is what they compute.
LARGE = frozenset(("resnet18", "vgg11_bn", "wide_vgg11", "mobilenet_v2"))
