"""A verification on a terminal: a table per backend, and what is known of a difference."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from paribus.report.plain import plain
from paribus.verifying.checks import TITLES, Check
from paribus.verifying.divergence import Divergence
from paribus.verifying.verification import Verification


def show_verification(found: Verification) -> None:
    """Print every backend's rows, then its first difference."""
    console = Console(highlight=False)
    backends = list(dict.fromkeys(check.backend for check in found.checks))
    steps = f"{found.steps} step{'s' if found.steps > 1 else ''}"
    for backend in backends:
        table = Table(
            title=f"{found.name}: {backend} against {found.reference}, {steps}, {found.precision}",
            title_justify="left",
        )
        noisy = any(check.noise for check in found.checks if check.backend == backend)
        headings = ["", "", "difference", "at most"]
        headings += [f"{found.reference} itself", f"{backend} itself"] if noisy else []
        for heading in [*headings, "where"]:
            right = heading not in ("", "where")
            table.add_column(heading, justify="right" if right else "left", overflow="fold")
        for check in found.checks:
            if check.backend == backend:
                table.add_row(*(Text(plain(cell)) for cell in _cells(check, noisy)))
        console.print(table)
    for divergence in found.divergences:
        for line in _told(divergence):
            console.print(plain(line), soft_wrap=True, markup=False)
    for note in found.notes:
        console.print(plain(f"note: {note}"), soft_wrap=True, markup=False)


def _cells(check: Check, noisy: bool) -> list[str]:
    noise = ["–", "–"] if check.noise is None else [_power(value) for value in check.noise]
    # Where nothing differs there is no place to name.
    place = check.where if check.value else ""
    where = "; ".join(part for part in (place, check.reason) if part)
    return [
        TITLES[check.quantity],
        check.verdict,
        _power(check.value),
        _power(check.tolerance),
        *(noise if noisy else []),
        where,
    ]


def _power(value: float | None) -> str:
    return "–" if value is None else f"{value:.1e}"


def _told(found: Divergence) -> list[str]:
    begin = f"{found.backend} parts from {found.reference}"
    one = found.difference
    if one is None or found.step is None:
        at = "" if found.step is None else f" in optimizer step {found.step}"
        return [f"{begin}{at}: {found.reason}"]
    name = f", first in {one.name}" if one.name else ""
    lines = [
        f"{begin} in optimizer step {found.step}, {one.stage}{name}: {one.value:.1e} apart "
        f"(at most {one.tolerance:.0e})"
    ]
    if found.who:
        lines.append(f"  it is {found.who} that departs from the definition")
    if one.explanation is None and one.hints:
        lines.append(f"  {found.cause}")
    elif one.explanation is None:
        lines.append("  the cause is unexplained: no changed definition that is known gives this")
    else:
        lines.append(f"  cause: {one.explanation.text}")
        lines.append(f"  (this explains all but {one.explanation.left:.0e} of the difference)")
    return lines
