"""Lightning's Trainer: no logger, no checkpoints, no progress bar.

Its loop is timed, not what ``fit`` prepares.
"""

from __future__ import annotations

import logging
import warnings

import lightning
import torch
import torch.nn.functional as F
from measuring.contenders import Run, Turn, clock
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from rivals import modules
from rivals.ordered import Ordered
from rivals.works import ROWS, WORKS, Work


class Task(lightning.LightningModule):
    """The work as Lightning wants it."""

    def __init__(self, work: Work, device: str) -> None:
        super().__init__()
        self.module = modules.module(work, device)
        self.update = modules.optimizer(work, self.module)
        self.total, self.began, self.seconds = torch.zeros(()), 0.0, 0.0

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        x, y = batch
        loss = F.cross_entropy(self.module(x), y)
        self.total += loss.detach()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.update

    def on_train_start(self) -> None:
        self.began = clock()

    def on_train_epoch_start(self) -> None:
        self.total = torch.zeros((), device=self.device)

    def on_train_end(self) -> None:
        # What is under way on a GPU is part of the work.
        self.total.item()
        self.seconds = clock() - self.began


def setup(work: str, device: str = "cpu") -> Run:
    """Return calls of ``Trainer.fit``."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    chosen = WORKS[work]
    loader = DataLoader(
        TensorDataset(*modules.tensors(chosen)), ROWS, sampler=Ordered(chosen), drop_last=True,
        pin_memory=device == "cuda",
    )  # fmt: skip
    task = Task(chosen, device)

    def run(steps: int) -> Turn:
        trainer = lightning.Trainer(
            max_epochs=steps // chosen.epoch_steps,
            accelerator="gpu" if device == "cuda" else "cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(task, loader)
        return Turn(task.seconds, task.total.item() / chosen.epoch_steps)

    return run
