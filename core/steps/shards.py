"""How many shards a batch would have to be cut into to fit the memory: found by trying.

It is tried where a training has failed with the device to itself, so what fails now is its batch.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np

from paribus import weights
from paribus.adapter import Task
from paribus.architectures import Network
from paribus.batches import Schedule
from paribus.data import Dataset, Streamed
from paribus.errors import OutOfMemory
from paribus.feeding import Feed
from paribus.machine import Machine
from paribus.spec.training import GradientDescent, Recipe


def that_fits(
    machine: Machine,
    network: Network,
    task: Task,
    dataset: Dataset,
    schedule: Schedule,
    error: OutOfMemory,
    step: str,
) -> OutOfMemory:
    """Return an error that says what would fit, and what that changes.

    Args:
        machine: its sessions are closed.
        network, task, dataset, schedule: of the training that does not fit.
        error: what was raised.
        step: ``pretrain`` or ``finetune``, whose recipe it is.
    """
    recipe = schedule.recipe
    whole = isinstance(recipe.optimizer, GradientDescent)
    rows = recipe.batch_size if whole else schedule.sizes[0]
    key = "batch_size" if whole else "shards"
    machine.close()
    parts = recipe.shards
    while rows // (parts * 2) >= 2:
        parts *= 2
        change: dict[str, Any] = {key: rows // parts if whole else parts}
        cut = Schedule(
            recipe.model_copy(update=change), 1, schedule.rows, schedule.seed, schedule.stream,
            schedule.inputs, schedule.noisy,
        )  # fmt: skip
        if _fits(machine, network, task, dataset, cut):
            return OutOfMemory(
                f"{error}. A batch of {rows} rows does not fit, with the device to itself. It fits "
                f"with {step}.{key} = {change[key]}, {_changes(network, recipe, rows // parts)}. "
                "Set it and begin anew, or go on where there is more memory"
            )
    return OutOfMemory(
        f"{error}. With the device to itself not even {max(2, rows // parts)} of a batch's {rows} "
        "rows fit at a time; use a smaller network or smaller examples, or go on where there is "
        "more memory"
    )


def _fits(
    machine: Machine, network: Network, task: Task, dataset: Dataset, schedule: Schedule
) -> bool:
    """Whether the first step of a schedule can be made by a session that is alone."""
    zeros = {
        name: np.broadcast_to(np.float32(0), shape)
        for name, shape in weights.shapes(network).items()
    }
    try:
        with machine.apart(network, task) as session:
            session.import_weights(zeros)
            feed = Feed(session, Streamed.of(dataset.x), dataset.y)
            with closing(feed.fed([schedule.epoch(0).plan(0, 1)])) as plans:
                for fed in plans:
                    session.train_steps(fed.handle, fed.plan).result()
                    feed.free(fed)
    except OutOfMemory:
        return False
    return True


def _changes(network: Network, recipe: Recipe, rows: int) -> str:
    sums = f"which computes {rows} rows at a time and adds up their gradients in another order"
    if any(node.op == "batch_norm" for node in network.nodes):
        return f"{sums}, and BatchNorm then normalises within {rows} rows instead of more"
    return f"{sums}, a difference of rounding"
