"""How many optimizer steps a compiled loop has places for.

XLA compiles for shapes, which takes longer than the steps of many plans, and the length of a plan
changes while a training finds its pace. So a loop is given more places than steps, of which it
executes those that the plan has. They cost their copying alone: there are as many as a plan ever
has steps, or as a few MiB have room for.
"""

from __future__ import annotations

# Steps of a plan, at most.
LARGEST_CHUNK = 1024
# What the arrays of a plan may have for being long.
BYTES = 4 << 20


def places(steps: int, size: int) -> int:
    """Return the places of a loop over a plan: a power of two, at least ``steps``.

    Args:
        steps: of the plan.
        size: bytes that one step has in the plan's arrays.
    """
    needed = 1 << (steps - 1).bit_length()
    room = min(LARGEST_CHUNK, BYTES // max(1, size))
    return max(needed, 1 << (room.bit_length() - 1)) if room else needed
