"""Figures of a report as SVG files; the only module here that needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from measuring.reports import Bars, Lines

# Text stays text, and the same results give the same file.
_STYLE = {"svg.fonttype": "none", "svg.hashsalt": "paribus", "font.size": 9}


def draw(figures: Sequence[Bars | Lines], path: Path) -> None:
    """Draw figures one below the other into an SVG file.

    Raises:
        OSError: the file cannot be written.
    """
    heights = [_height(figure) for figure in figures]
    with mpl.rc_context(_STYLE):
        sheet = Figure(figsize=(8, sum(heights)), layout="constrained")
        places = sheet.subplots(len(figures), 1, squeeze=False, height_ratios=heights)
        for figure, axes in zip(figures, places[:, 0], strict=True):
            axes.set_title(figure.title)
            if isinstance(figure, Bars):
                _bars(axes, figure)
            else:
                _lines(axes, figure)
        sheet.savefig(path, metadata={"Date": None})


def _height(figure: Bars | Lines) -> float:
    """Inches."""
    if isinstance(figure, Lines):
        return 3.2
    return 1.0 + 0.22 * sum(len(values) + 1 for values in figure.groups.values())


def _bars(axes: Axes, figure: Bars) -> None:
    titles = list(dict.fromkeys(name for values in figure.groups.values() for name in values))
    colours = {title: f"C{place}" for place, title in enumerate(titles)}
    place, ticks = 0.0, []
    for values in figure.groups.values():
        first = place
        for title, value in values.items():
            axes.barh(place, value, 0.9, color=colours[title])
            axes.annotate(f" {title}  {value:.3g}", (value, place), va="center", fontsize=8)
            place += 1
        ticks.append((first + place - 1) / 2)
        place += 1
    axes.set_yticks(ticks, list(figure.groups))
    axes.invert_yaxis()
    axes.set_xscale("log")
    found = [value for values in figure.groups.values() for value in values.values()]
    # Room for the shortest bar, and for the titles behind the longest one.
    axes.set_xlim(min(found) / 2, max(found) * 10)
    axes.set_xlabel(figure.unit)
    if figure.line is not None:
        axes.axvline(figure.line, color="black", linewidth=0.8)


def _lines(axes: Axes, figure: Lines) -> None:
    for title, points in figure.curves.items():
        across, up = zip(*points, strict=True)
        axes.plot(across, up, marker="o", label=title)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(figure.axis)
    axes.set_ylabel(figure.unit)
    axes.legend()
    axes.grid(visible=True, which="major", alpha=0.3)
