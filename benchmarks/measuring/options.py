"""What whoever starts the benchmarks chooses, the same for every section."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """How much is measured.

    Attributes:
        quick: the smallest case and few rounds: whether it works, not how fast.
        rounds: turns of each contender; None for what the section finds enough.
        threads: of every library.
        clock: ``wall``, or ``cpu`` for the processor's time, where other work keeps it busy.
        works: titles' beginnings of what is measured within a section; empty for everything.
        device: where everybody computes: ``cpu`` or ``cuda``.
        backends: of paribus that take part, with the rivals of their framework.
    """

    quick: bool = False
    rounds: int | None = None
    threads: int = 2
    clock: str = "wall"
    works: tuple[str, ...] = ()
    device: str = "cpu"
    backends: tuple[str, ...] = ("torch", "tensorflow")

    def turns(self, usual: int) -> int:
        """Return how many rounds to measure where a section's usual number is ``usual``."""
        return self.rounds or (2 if self.quick else usual)

    def wants(self, name: str) -> bool:
        """Return whether a part of a section is to be measured."""
        return not self.works or name in self.works
