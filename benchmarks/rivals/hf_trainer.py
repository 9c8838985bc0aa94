"""The Trainer of Hugging Face: constant rate, no clipping, nothing logged or saved.

Its loop is timed, from the first step to the end.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch.nn.functional as F
import transformers
from measuring.contenders import Run, Turn, clock
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler
from transformers import Trainer, TrainerCallback, TrainingArguments, get_constant_schedule

from rivals import modules
from rivals.ordered import Ordered
from rivals.works import ROWS, WORKS


class Task(nn.Module):
    """A module that returns its loss, as the Trainer wants it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits = self.module(x)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


class Rows(Dataset[dict[str, Tensor]]):
    """Examples by number."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self._x, self._y = x, y

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {"x": self._x[row], "labels": self._y[row]}

    def __len__(self) -> int:
        return len(self._y)


class Clock(TrainerCallback):
    """Times from the first step to the end."""

    began = seconds = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if state.global_step == 0:
            self.began = clock()

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.seconds = clock() - self.began


class InOrder(Trainer):
    """A Trainer that reads rows in the work's order."""

    order: Sampler[int]

    def _get_train_sampler(self, *given: Any) -> Sampler[int]:
        return self.order


def setup(work: str, device: str = "cpu") -> Run:
    """Return calls of ``Trainer.train``."""
    transformers.logging.set_verbosity_error()
    chosen = WORKS[work]
    rows, order = Rows(*modules.tensors(chosen)), Ordered(chosen)
    task = Task(modules.module(chosen, device))
    update = modules.optimizer(chosen, task.module)

    def run(steps: int) -> Turn:
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                num_train_epochs=steps // chosen.epoch_steps,
                per_device_train_batch_size=ROWS,
                max_grad_norm=0.0,
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                use_cpu=device == "cpu",
                disable_tqdm=True,
                dataloader_pin_memory=device == "cuda",
                dataloader_drop_last=True,
            )
            trainer = InOrder(
                task,
                arguments,
                train_dataset=rows,
                callbacks=[clock],
                optimizers=(update, get_constant_schedule(update)),
            )
            trainer.order = order
            done = trainer.train()
        return Turn(clock.seconds, done.training_loss)

    return run
