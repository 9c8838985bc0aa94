"""The hand-written eager PyTorch loop: what a good practitioner writes for data in memory.

Tensors in memory and channels first, shuffled indices and no DataLoader, gradients set to None,
the loss read once at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from works import ROWS, SEED, VOCABULARY, Work


class Layer(nn.Module):
    """A layer of BERT."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-12), nn.LayerNorm(width, 1e-12)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        cut = [
            part(x).view(*x.shape[:2], self.heads, -1).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        ]
        attended = F.scaled_dot_product_attention(*cut, attn_mask=mask)
        x = self.norm1(self.out(attended.transpose(1, 2).flatten(2)) + x)
        return self.norm2(self.down(F.gelu(self.up(x))) + x)


class Bert(nn.Module):
    """BERT with a class for each text; tokens of 0 are padding."""

    def __init__(self, layers: int, width: int, heads: int, inner: int, classes: int) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(VOCABULARY, width), nn.Embedding(512, width)
        self.segments, self.norm = nn.Embedding(2, width), nn.LayerNorm(width, 1e-12)
        self.layers = nn.ModuleList(Layer(width, heads, inner) for _ in range(layers))
        self.pooler, self.classifier = nn.Linear(width, width), nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        mask = (tokens != 0)[:, None, None, :]
        x = self.words(tokens) + self.segments.weight[0] + self.places.weight[: tokens.shape[1]]
        x = self.norm(x)
        for layer in self.layers:
            x = layer(x, mask)
        return self.classifier(torch.tanh(self.pooler(x[:, 0])))


def model(work: Work) -> nn.Module:
    """Return the network as one would write it, with PyTorch's own initial weights."""
    torch.manual_seed(SEED)
    if work.architecture == "mlp":
        return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, work.classes))
    if work.architecture == "cnn":
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(32 * 49, work.classes),
        )  # fmt: skip
    if work.architecture == "bert":
        return Bert(4, 256, 4, 1024, work.classes)
    import torchvision

    return torchvision.models.get_model(work.architecture, num_classes=work.classes)


def optimizer(work: Work, module: nn.Module) -> torch.optim.Optimizer:
    """Return the recipe's optimizer; AdamW decays no bias and no norm, as core's does."""
    given = work.optimizer
    if given["name"] == "sgd":
        return torch.optim.SGD(
            module.parameters(), lr=given["learning_rate"], momentum=given["momentum"]
        )
    groups = [
        {"params": [p for p in module.parameters() if p.ndim > 1]},
        {"params": [p for p in module.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=given["learning_rate"], weight_decay=given["weight_decay"])


def tensors(work: Work) -> tuple[Tensor, Tensor]:
    """Return the data as PyTorch wants it: images [N, C, H, W], tokens int64."""
    x, y = work.data()
    if x.ndim == 4:
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    found = torch.from_numpy(x)
    return (found.long() if work.network.reads_tokens else found), torch.from_numpy(y)


def eager(work: Work) -> Callable[[int], Any]:
    """Return the loop over so many epochs."""
    x, y = tensors(work)
    module = model(work).train()
    update = optimizer(work, module)

    def run(epochs: int) -> None:
        total = torch.zeros(())
        for _ in range(epochs):
            order = torch.randperm(len(y))
            for start in range(0, len(y) - ROWS + 1, ROWS):
                rows = order[start : start + ROWS]
                update.zero_grad(set_to_none=True)
                loss = F.cross_entropy(module(x[rows]), y[rows])
                loss.backward()
                update.step()
                total += loss.detach()
        total.item()

    return run
