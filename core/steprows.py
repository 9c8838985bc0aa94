"""What is said of optimizer steps: their rows in ``metrics.jsonl``, and where one ended it all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from paribus.adapter import Array
from paribus.errors import NonFiniteLoss
from paribus.plan import StepResults, TrainPlan

Row = dict[str, Any]


def step_rows(
    labels: Mapping[str, Any], epoch: int, first: int, plan: TrainPlan, results: StepResults
) -> list[Row]:
    """Return a row for each step of a plan.

    Args:
        labels: the training's; go into each row.
        epoch: from 1; first: the number of the plan's first step in the training, from 1.
        plan, results: of the steps.
    """
    losses, rates = results.losses.tolist(), plan.scalars["learning_rate"].tolist()
    rows: list[Row] = [
        {
            **labels,
            "split": "train",
            "epoch": epoch,
            "optimizer_step": number,
            "loss": loss,
            "learning_rate": rate,
        }
        for number, (loss, rate) in enumerate(zip(losses, rates, strict=True), first)
    ]
    if results.gradient_norms is not None:
        for row, norm in zip(rows, results.gradient_norms, strict=True):
            row["gradient_norm"] = float(norm)
    return rows


def diverged(title: str, row: Row, before: int, weights: Mapping[str, Array]) -> NonFiniteLoss:
    """Return the error of a training that a step has ended.

    Args:
        title: of the training.
        row: of the step; before: steps that were left out right before it.
        weights: after it, and a few steps more.
    """
    what, value = "training loss", row["loss"]
    if np.isfinite(value):
        what, value = "gradient's norm", row["gradient_norm"]
    others = f", as in the {before} steps before it" if before else ""
    bad = [name for name, array in weights.items() if not np.isfinite(array).all()]
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    lost = f"; {bad[0]}{more} of {len(weights)} tensors are not finite any more" if bad else ""
    return NonFiniteLoss(
        f"{title}: the {what} became {value} at optimizer step {row['optimizer_step']} (epoch "
        f"{row['epoch']}, learning rate {row['learning_rate']:g}){others}{lost}. Lower the "
        "learning rate, add schedule.warmup_epochs, or set clip_norm"
    )
