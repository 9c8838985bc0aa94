"""What is compared: something that can be set up, and then asked for work again and again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple, Protocol, cast

# The variable by which children learn which clock counts: the wall's, or the processor's, which
# with one thread tells what the arithmetic costs whoever else keeps the cores busy.
CLOCK = "PARIBUS_BENCHMARK_CLOCK"
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def clock() -> float:
    """Return seconds by the clock that this benchmark goes by."""
    return CLOCKS[os.environ.get(CLOCK, "wall")]()


class Turn(NamedTuple):
    """What one turn of a contender left, where it knows better than the clock around it.

    Attributes:
        seconds: of the work alone, for contenders that prepare something in every call.
        loss: mean training loss of the last epoch, to see that all contenders do the same.
    """

    seconds: float | None = None
    loss: float | None = None


class Run(Protocol):
    """A contender that is set up."""

    def __call__(self, amount: int, /) -> Turn | None:
        """Do ``amount`` units of work, go on from there at the next call, and be done on return."""


@dataclass(frozen=True)
class Contender:
    """Something to measure.

    Attributes:
        title: its name in tables.
        setup: ``module:function``; the function returns a ``Run``. It is called in a child process,
            with ``benchmarks/`` on the path, so that a framework is imported where it is used.
        given: keyword arguments of the function, JSON values.
        process: contenders of one name share a child. Frameworks that cannot live in one process
            have different names.
    """

    title: str
    setup: str
    given: Mapping[str, Any] = field(default_factory=dict)
    process: str = "torch"


def load(setup: str) -> Callable[..., Run]:
    """Return the function that ``module:function`` names."""
    module, _, function = setup.partition(":")
    return cast("Callable[..., Run]", getattr(import_module(module), function))
