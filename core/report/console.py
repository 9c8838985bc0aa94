"""Tables of a run and of a comparison on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from paribus.comparing import Comparison
from paribus.report.plain import plain
from paribus.result import Result
from paribus.steps.select import without_mean

MIB = 2**20


def show_run(result: Result) -> None:
    """Print what each step found, the test, and where the run folder is."""
    metrics = result.metrics
    console = Console(highlight=False)
    title = f"{metrics['name']} on {metrics['backend']} ({metrics['device']}, "
    table = Table(title=_shown(f"{title}{metrics['precision']})"), title_justify="left")
    for heading in ("step", "what", "value"):
        # Folded, not cut: a searched key is longer than a column of a narrow terminal or a pipe.
        table.add_column(heading, overflow="fold")
    for step, found in metrics["steps"].items():
        for what, value in _lines(step, found):
            table.add_row(*map(_shown, (step, what, value)))
            step = ""
    if result.test is not None:
        first = "test"
        for name, value in _metrics(result.test):
            table.add_row(*map(_shown, (first, name, value)))
            first = ""
    console.print(table)
    console.print(_shown(f"{metrics['seconds']:.1f} s; {result.folder}"), soft_wrap=True)


def _shown(text: str) -> Text:
    """Return text that is neither rich's markup nor a terminal's: names are anybody's."""
    return Text(plain(text))


def _lines(step: str, found: dict[str, Any]) -> list[tuple[str, str]]:
    if step == "select":
        lines = []
        for candidate in found["candidates"]:
            mean, error = candidate["mean"], candidate["standard_error"]
            value = without_mean(candidate["folds"]) if mean is None else f"{mean:.4f}"
            value += "" if error is None else f" ± {error:.4f}"
            mark = "  ← chosen" if candidate["name"] == found["chosen"] else ""
            size = f"{candidate['parameters']:,} parameters, {candidate['seconds']:.1f} s"
            lines.append((candidate["name"], f"{found['metric']} {value} ({size}){mark}"))
        return lines
    if step == "optimize":
        best = found["best"]
        states = [trial["state"] for trial in found["trials"]]
        counts = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
        lines = [("trials", counts), ("best", f"trial {best['number']}: {found['metric']} "
                                              f"{best['value']:.4f}")]  # fmt: skip
        return lines + [(key, str(value)) for key, value in best["params"].items()]
    lines = [("training loss", f"{found['train']['loss']:.4f}")]
    if found["validation"] is not None:
        words = [f"{name} {value}" for name, value in _metrics(found["validation"])]
        lines.append(("validation", ", ".join(words)))
    speed = found["images_per_second"]
    shown = "" if speed is None else f", {speed:,.0f} examples/s"
    lines.append(("epochs", f"{found['epochs']} (kept {found['kept_epoch']}){shown}"))
    return lines


def _metrics(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return an evaluation's metrics in words, what people look at first before the loss."""
    names = sorted((n for n in found if n != "examples"), key=lambda name: name == "loss")
    return [
        (name.replace("_", " "), "undefined" if found[name] is None else f"{found[name]:.4f}")
        for name in names
    ] + [("examples", f"{found['examples']:,}")]


def show_comparison(comparison: Comparison) -> None:
    """Print one table: a column per backend."""
    rows = comparison.table()
    console = Console(highlight=False)
    table = Table(title=f"the same experiment; the reference is {rows[0]['backend']}",
                  title_justify="left")  # fmt: skip
    table.add_column("")
    for row in rows:
        table.add_column(row["backend"], justify="right")
    for key, title, form in _ROWS:
        if any(row.get(key) is not None for row in rows):
            cells = ["–" if row.get(key) is None else form(row[key]) for row in rows]
            table.add_row(title, *map(_shown, cells))
    console.print(table)
    console.print(_shown(str(comparison.folder)), soft_wrap=True)


def _decimal(value: float) -> str:
    return f"{value:.6f}"


def _power(value: float) -> str:
    return f"{value:.1e}"


_ROWS = (
    ("chosen", "chosen candidate", str),
    ("best_trial", "best trial", str),
    ("train_loss", "training loss", _decimal),
    ("validation_loss", "validation loss", _decimal),
    ("test_loss", "test loss", _decimal),
    ("test_accuracy", "test accuracy", _decimal),
    ("first_loss_difference", "first step's loss, relative difference", _power),
    ("largest_loss_difference", "largest loss difference, relative", _power),
    ("steps_compared", "optimizer steps compared", str),
    ("test_examples_apart", "test examples apart", str),
    ("same_choices", "same choices", lambda value: "yes" if value else "NO"),
    ("images_per_second", "examples per second", lambda value: f"{value:,.0f}"),
    ("seconds", "seconds in all", lambda value: f"{value:.1f}"),
    ("compile_seconds", "of it compiling", lambda value: f"{value:.1f}"),
    ("peak_memory_bytes", "peak memory, MiB", lambda value: f"{value / MIB:,.0f}"),
)
