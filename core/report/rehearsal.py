"""What ``paribus run --check`` prints."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from paribus.steps.rehearsal import Tried


def show_tried(tried: Sequence[Tried]) -> None:
    """Print a line for each training that was tried, and a sentence for each that would fail."""
    own = [one for one in tried if not one.like]
    number = {one.where: place for place, one in enumerate(own, 1)}
    for one in tried:
        if one.error is not None:
            what = "would fail"
        elif one.like:
            what = f"as {number[one.like]}"
        else:
            what = f"done in {one.seconds:.2f} s"
            what += ", with nothing beside it in memory" if one.thrift else ""
        mark = "" if one.like else f"{number[one.where]}."
        typer.echo(f"{mark:>4} {one.where}: {one.model}, {one.rows} rows: {what}")
    for one in tried:
        if one.error is not None:
            typer.echo(f"{one.where}: {one.error}")
