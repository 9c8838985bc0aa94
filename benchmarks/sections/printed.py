"""Benchmarks that are programs of their own and print a Markdown table: what they print, kept."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence

from measuring import ChildFailed, Table
from measuring.processes import HERE, environment


def printed(program: str, words: Sequence[str], threads: int) -> Table:
    """Run a program that stands beside ``run.py`` and return the table that it prints.

    Raises:
        ChildFailed: it ends with an error, or prints no table.
    """
    command = [sys.executable, str(HERE / program), *words]
    done = subprocess.run(
        command, env={**os.environ, **environment(threads)}, capture_output=True, text=True
    )
    lines = [_cells(line) for line in done.stdout.splitlines() if line.startswith("|")]
    if done.returncode or len(lines) < 3:
        raise ChildFailed(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}"
        )
    titles, _, *rows = lines
    return Table(titles, rows)


def ratios(table: Table, column: int) -> dict[str, float]:
    """Return the number that begins a column's cells, by the first column."""
    found = {}
    for row in table.rows:
        number = re.match(r"\d+(\.\d+)?", row[column])
        if number is not None:
            found[row[0]] = float(number[0])
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
