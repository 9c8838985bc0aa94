"""skorch's NeuralNetClassifier without a validation split, silent.

It goes on with ``partial_fit``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from measuring.contenders import Run, Turn
from skorch import NeuralNetClassifier
from torch import nn

from rivals import modules
from rivals.ordered import Ordered
from rivals.works import ROWS, WORKS, Work


class Net(NeuralNetClassifier):
    """A net whose optimizer is the work's."""

    def __init__(self, module: nn.Module, work: Work, **given: Any) -> None:
        self.work = work
        super().__init__(module, **given)

    def initialize_optimizer(self, *args: Any, **given: Any) -> Net:
        self.optimizer_ = modules.optimizer(self.work, self.module_)
        return self


def setup(work: str, device: str = "cpu") -> Run:
    """Return calls of ``partial_fit``."""
    chosen = WORKS[work]
    x, y = (np.asarray(tensor) for tensor in modules.tensors(chosen))
    net = Net(
        modules.module(chosen, device),
        chosen,
        criterion=nn.CrossEntropyLoss,
        batch_size=ROWS,
        train_split=None,
        verbose=0,
        device=device,
        classes=list(range(chosen.classes)),
        iterator_train__sampler=Ordered(chosen),
        iterator_train__drop_last=True,
    ).initialize()

    def run(steps: int) -> Turn:
        net.max_epochs = steps // chosen.epoch_steps
        net.partial_fit(x, y)
        return Turn(loss=float(net.history[-1, "train_loss"]))

    return run
