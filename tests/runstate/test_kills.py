"""Killed at random moments of all four steps, a run comes to the bits that it would have come to.

The short form of ``tests/killing.py``, which kills 200 times on all backends (CONTRIBUTING.md).
"""

from __future__ import annotations

import random
from pathlib import Path

from killing import Killing, Nursery


def test_killed_again_and_again(tmp_path: Path) -> None:
    nursery = Nursery("torch", tmp_path)
    try:
        killing = Killing(nursery, "torch", random.Random(5))
        while killing.phases.total() < 5:
            killing.kill(5 - killing.phases.total())
    finally:
        nursery.close()
