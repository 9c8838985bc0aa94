"""The original: a small network with the layers whose defaults differ most between frameworks."""

import torch
from torch import nn


class Net(nn.Module):
    """Digits of 8 × 8 pixels to ten logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc1 = nn.Linear(32 * 4 * 4, 64)
        self.norm = nn.LayerNorm(64)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits [n, 10] of images [n, 1, 8, 8]."""
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.conv2(x)).flatten(1)
        return self.fc2(self.act(self.norm(self.fc1(x))))


def build() -> nn.Module:
    """Return the original."""
    return Net()
