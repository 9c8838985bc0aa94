"""The hand-written eager PyTorch loop: what a good practitioner writes for data in memory.

Tensors in memory and shuffled indices, no DataLoader, gradients set to None, and no loss read
before the end of the epoch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from measuring.contenders import Run, Turn

from rivals import modules
from rivals.works import ROWS, WORKS


def setup(work: str, device: str = "cpu") -> Run:
    """Return the loop."""
    chosen = WORKS[work]
    x, y = modules.tensors(chosen, device)
    orders = [torch.from_numpy(order).to(device) for order in chosen.orders()]
    module = modules.module(chosen, device)
    update = modules.optimizer(chosen, module)
    done = 0

    def run(steps: int) -> Turn:
        nonlocal done
        total = torch.zeros((), device=device)
        for _ in range(steps // chosen.epoch_steps):
            order = orders[done % len(orders)]
            total = torch.zeros((), device=device)
            for start in range(0, len(y), ROWS):
                rows = order[start : start + ROWS]
                update.zero_grad()
                loss = F.cross_entropy(module(x[rows]), y[rows])
                loss.backward()
                update.step()
                total += loss.detach()
            done += 1
        return Turn(loss=total.item() / chosen.epoch_steps)

    return run
