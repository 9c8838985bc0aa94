"""What a section of the benchmarks found: JSON to keep, Markdown to read, figures to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Table:
    """A Markdown table: the titles of its columns, and rows of cells."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """Return its lines."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


@dataclass(frozen=True)
class Bars:
    """Bars in groups: one value for each contender of each group.

    Attributes:
        title: above; unit: below the axis.
        groups: group → contender → value.
        line: a value to draw a line at, where 1 means "as fast as".
    """

    title: str
    unit: str
    groups: dict[str, dict[str, float]]
    line: float | None = None


@dataclass(frozen=True)
class Lines:
    """Curves over one axis, both scales logarithmic.

    Attributes:
        title: above; axis: what grows; unit: of the values.
        curves: title → points (x, y).
    """

    title: str
    axis: str
    unit: str
    curves: dict[str, list[tuple[float, float]]]


@dataclass(frozen=True)
class Report:
    """One section's results.

    Attributes:
        title: a heading.
        fair: how the comparison is kept fair, in sentences.
        tables: to be shown in order.
        figures: to be drawn in order.
        data: everything that was measured, JSON values.
    """

    title: str
    fair: str
    tables: Sequence[Table]
    figures: Sequence[Bars | Lines] = ()
    data: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON; figures can be drawn again from it."""
        figures = [{"kind": type(figure).__name__, **asdict(figure)} for figure in self.figures]
        tables = [asdict(table) for table in self.tables]
        return {
            "title": self.title,
            "fair": self.fair,
            "tables": tables,
            "figures": figures,
            "data": self.data,
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Report:
        """Return what ``as_dict`` stored."""
        kinds: dict[str, type[Bars | Lines]] = {"Bars": Bars, "Lines": Lines}
        figures = []
        for entry in stored["figures"]:
            values = dict(entry)
            figures.append(kinds[values.pop("kind")](**values))
        tables = [Table(**entry) for entry in stored["tables"]]
        return cls(stored["title"], stored["fair"], tables, figures, stored["data"])
