"""``[checkpoints]``: when a run keeps what it takes to go on. No result depends on it."""

from __future__ import annotations

from pydantic import Field

from paribus.spec.base import Section


class Checkpoints(Section):
    """When the state of a run is kept; besides, whenever it is stopped."""

    minutes: float = Field(
        default=5.0, ge=0, le=1e6, description="Minutes between two; 0: not by the clock."
    )
    steps: int | None = Field(
        default=None, ge=1, description="Optimizer steps between two, of all trainings together."
    )
    keep: int = Field(
        default=2, ge=1, le=1000, description="How many of the last states stay on the disk."
    )
    best: bool = Field(
        default=True,
        description="Write the best weights so far of pretraining or fine-tuning beside them.",
    )
