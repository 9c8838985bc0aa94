"""What ``paribus predict`` prints on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from paribus.predicting import Prediction
from paribus.report.plain import plain


def show_predictions(predictions: Sequence[Prediction]) -> None:
    """Print each file's name and below it a line per class, the most probable first."""
    console = Console(highlight=False)
    for prediction in predictions:
        place = "" if prediction.position is None else f"  (token {prediction.position})"
        lines = [prediction.input + place]
        for name, value in (prediction.values or {}).items():
            lines.append(f"  {value:>12.6g}  {name}")
        for guess in prediction.top:
            known = "" if guess.label == str(guess.number) else f"  {guess.label}"
            kind = "class" if prediction.position is None else "token"
            lines.append(f"  {guess.probability:>6.1%}  {kind} {guess.number}{known}")
        # Text: a file's or class's name may hold what rich would read as markup.
        console.print(Text(plain("\n".join(lines))), soft_wrap=True)
