"""The fine-tuning step of ``examples/digits.toml``, as one would write it in PyTorch; a program.

    python digits_script.py EPOCHS FOLDER [DIGITS.npz]

Digits 5 to 9, a CNN, AdamW, validation after each epoch, the best weights kept and tested once, and
written to a folder with the history. Without a file the digits are scikit-learn's, which takes a
second or two to import.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPOCHS, FOLDER = int(sys.argv[1]), Path(sys.argv[2])


def data() -> tuple[Tensor, Tensor]:
    """Return normalised images [N, 1, 8, 8] and labels [N]."""
    if len(sys.argv) > 3:
        stored = np.load(sys.argv[3])
        x, y = stored["x"].reshape(-1, 8, 8), stored["y"]
    else:
        from sklearn.datasets import load_digits

        found = load_digits()
        x, y = found.images, found.target
    chosen = y >= 5
    images = torch.from_numpy(x[chosen].astype(np.float32) / 16).unsqueeze(1)
    return images, torch.from_numpy(y[chosen].astype(np.int64) - 5)


def main() -> None:
    """Train, keep the best, test, write."""
    torch.manual_seed(7)
    x, y = data()
    shuffled = torch.randperm(len(y))
    fifth = len(y) // 5
    test, validation, train = shuffled.split([fifth, fifth, len(y) - 2 * fifth])
    x = (x - x[train].mean()) / x[train].std()
    module = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 5),
    )  # fmt: skip
    update = torch.optim.AdamW(module.parameters(), lr=1e-3, weight_decay=0.01)

    def judged(rows: Tensor) -> tuple[float, float]:
        module.eval()
        with torch.no_grad():
            logits = module(x[rows])
        loss = F.cross_entropy(logits, y[rows]).item()
        return loss, (logits.argmax(1) == y[rows]).float().mean().item()

    history, best, kept = [], float("inf"), module.state_dict()
    for _ in range(EPOCHS):
        module.train()
        order = train[torch.randperm(len(train))]
        for start in range(0, len(order), 32):
            rows = order[start : start + 32]
            update.zero_grad()
            F.cross_entropy(module(x[rows]), y[rows]).backward()
            update.step()
        loss, accuracy = judged(validation)
        history.append({"loss": loss, "accuracy": accuracy})
        if loss < best:
            best, kept = loss, {n: value.clone() for n, value in module.state_dict().items()}
    module.load_state_dict(kept)
    loss, accuracy = judged(test)
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.save(kept, FOLDER / "weights.pt")
    tested = {"loss": loss, "accuracy": accuracy}
    (FOLDER / "result.json").write_text(json.dumps({"history": history, "test": tested}))


if __name__ == "__main__":
    main()
