"""What ``paribus run --check`` prints."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from paribus.steps.rehearsal import Tried


def show_tried(tried: Sequence[Tried]) -> None:
    """Print a line for each training that was tried, and a sentence for each that would fail."""
    covered = sum(1 for one in tried if one.like and one.error is None)
    for one in tried:
        if not one.like or one.error is not None:
            what = f"done in {one.seconds:.2f} s" if one.error is None else "would fail"
            thrifty = ", with nothing beside it in memory" if one.thrift else ""
            typer.echo(f"{one.where}: {one.model}, {one.rows} rows: {what}{thrifty}")
    if covered:
        typer.echo(f"and {covered} more, which compute no more than these")
    for one in tried:
        if one.error is not None:
            typer.echo(f"{one.where}: {one.error}")
