"""What a run says while it works: bars on a terminal, lines when asked, nothing otherwise."""

from __future__ import annotations

import sys
import warnings
from typing import Any, Self

from paribus.closing import Closing
from paribus.report.plain import plain


class Progress(Closing):
    """Silence but for warnings, which are Python's; also the interface of the noisier ones."""

    def begin(self, what: str, total: int) -> None:
        """Start a piece of work of ``total`` optimizer steps."""

    def advance(self, steps: int, loss: float) -> None:
        """Report finished steps and the last one's loss."""

    def end(self) -> None:
        """Finish the piece of work."""

    def note(self, message: str) -> None:
        """Say something that a person wants to know at the end of a piece of work."""

    def warn(self, message: str) -> None:
        """Say something that a person has to know now."""
        warnings.warn(message, RuntimeWarning, stacklevel=2)

    def close(self) -> None:
        """End; nothing is shown any more."""


class Warnings(Progress):
    """Warnings as lines on standard error, and nothing else: what a command says at least."""

    def warn(self, message: str) -> None:
        """Print the line."""
        print(f"paribus: {message}", file=sys.stderr, flush=True)


class Lines(Warnings):
    """Notes as plain lines on standard error, for logs."""

    def note(self, message: str) -> None:
        """Print the line."""
        print(plain(message), file=sys.stderr, flush=True)


class Bars(Progress):
    """A rich progress bar per piece of work on standard error, and the notes above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Rich

        self._rich = Rich(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.4f}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: Any = None

    def begin(self, what: str, total: int) -> None:
        """Show a new bar."""
        self._task = self._rich.add_task(plain(what), total=total, loss=float("nan"))

    def advance(self, steps: int, loss: float) -> None:
        """Move the bar."""
        self._rich.update(self._task, advance=steps, loss=loss)

    def end(self) -> None:
        """Remove the bar."""
        if self._task is not None:
            self._rich.remove_task(self._task)
            self._task = None

    def note(self, message: str) -> None:
        """Print above the bar."""
        self._rich.console.print(plain(message), highlight=False, markup=False)

    def warn(self, message: str) -> None:
        """Print above the bar."""
        self.note(f"paribus: {message}")

    def __enter__(self) -> Self:
        self._rich.start()
        return self

    def close(self) -> None:
        """Take the bars away."""
        self._rich.stop()


def choose(*, quiet: bool, verbose: bool) -> Progress:
    """Return bars on a terminal, lines where ``verbose`` asks for them, else warnings only."""
    if quiet:
        return Warnings()
    if sys.stderr.isatty():
        return Bars()
    return Lines() if verbose else Warnings()
