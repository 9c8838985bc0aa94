"""Learning rates as a float64 function of the optimizer step; handed over, never recomputed."""

from __future__ import annotations

import numpy as np

from paribus.draws import Floats
from paribus.spec.training import Cosine, Linear, Schedule, Step


def learning_rates(
    schedule: Schedule, base: float, first: int, count: int, per_epoch: int, total: int
) -> Floats:
    """Return the learning rates of ``count`` steps from step ``first``; float64 [count].

    Warm-up over W steps: base · (t + 1) / W. After it, with progress p = (t − W) / (total − W):
    linear: 1 − (1 − final)·p; cosine: final + (1 − final)·(1 + cos πp)/2 (Loshchilov & Hutter
    2017, without restarts); step: gamma^⌊epoch / every_epochs⌋.

    Args:
        schedule: the spec's schedule section.
        base: the optimizer's learning rate.
        first: number of steps before, counted from 0.
        count: steps wanted.
        per_epoch: optimizer steps of one epoch.
        total: optimizer steps of the whole training.
    """
    t = np.arange(first, first + count, dtype=np.float64)
    warmup = min(round(schedule.warmup_epochs * per_epoch), total)
    progress = np.clip((t - warmup) / max(1, total - warmup), 0.0, 1.0)
    if isinstance(schedule, Step):
        factor = schedule.gamma ** (t // (per_epoch * schedule.every_epochs))
    elif isinstance(schedule, Linear):
        factor = 1.0 - (1.0 - schedule.final) * progress
    elif isinstance(schedule, Cosine):
        factor = schedule.final + (1.0 - schedule.final) * 0.5 * (1.0 + np.cos(np.pi * progress))
    else:
        factor = np.ones_like(t)
    rising = (t + 1.0) / max(1, warmup)
    return np.asarray(base * np.where(t < warmup, rising, factor), dtype=np.float64)
