"""The works as PyTorch modules, as one would write them, with the weights of the work.

All PyTorch rivals train these; between them only the loop differs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rivals.works import VOCABULARY, Work


class Layer(nn.Module):
    """A layer of BERT."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norm = nn.LayerNorm(width, 1e-12)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.last = nn.LayerNorm(width, 1e-12)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (
            part(x).view(*x.shape[:2], self.heads, -1).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = self.norm(self.out(attended.transpose(1, 2).flatten(2)) + x)
        found: Tensor = self.last(self.down(F.gelu(self.up(x))) + x)
        return found


class Bert(nn.Module):
    """BERT with a class for each text; token 0 is padding."""

    def __init__(self, layers: int, width: int, heads: int, inner: int, classes: int) -> None:
        super().__init__()
        self.words, self.segments = nn.Embedding(VOCABULARY, width), nn.Embedding(2, width)
        self.places, self.norm = nn.Embedding(512, width), nn.LayerNorm(width, 1e-12)
        self.layers = nn.ModuleList(Layer(width, heads, inner) for _ in range(layers))
        self.pooler, self.classifier = nn.Linear(width, width), nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        mask = (tokens != 0)[:, None, None, :]
        x = self.words(tokens) + self.segments.weight[0] + self.places.weight[: tokens.shape[1]]
        x = self.norm(x)
        for layer in self.layers:
            x = layer(x, mask)
        logits: Tensor = self.classifier(torch.tanh(self.pooler(x[:, 0])))
        return logits


def module(work: Work, device: str = "cpu") -> nn.Module:
    """Return the network in training mode, with the work's initial weights."""
    made = _drawn(work).train().to(device)
    state = [name for name in made.state_dict() if not name.endswith("num_batches_tracked")]
    canonical = work.weights()
    # The same tensors in the same order, whatever they are called.
    given = zip(state, canonical.values(), strict=True)
    made.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in given},
                         strict=False)  # fmt: skip
    return made


def _drawn(work: Work) -> nn.Module:
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

    made: nn.Module = torchvision.models.get_model(work.architecture, num_classes=work.classes)
    return made


def optimizer(work: Work, made: nn.Module) -> torch.optim.Optimizer:
    """Return PyTorch's own optimizer with the work's settings."""
    given = dict(work.optimizer)
    name, rate = given.pop("name"), given.pop("learning_rate")
    if name == "sgd":
        return torch.optim.SGD(made.parameters(), lr=rate, **given)
    parts: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    trained = work.network.trainable("none")
    for canonical, parameter in zip(trained, made.parameters(), strict=True):
        parts[work.decays(canonical)].append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": parts[True]},
        {"params": parts[False], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, **given)


def tensors(work: Work, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Return the data as PyTorch wants it: images [N, C, H, W], tokens int64; labels."""
    x, y = work.data()
    if x.ndim == 4:
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    found = torch.from_numpy(x).to(device)
    return (found.long() if work.network.reads_tokens else found), torch.from_numpy(y).to(device)
