"""What ``paribus predict`` prints on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from paribus.predicting import Prediction


def show_predictions(predictions: Sequence[Prediction]) -> None:
    """Print each file's name and below it a line per class, the most probable first."""
    console = Console(highlight=False)
    for prediction in predictions:
        lines = [prediction.input]
        for guess in prediction.top:
            known = "" if guess.label == str(guess.number) else f"  {guess.label}"
            lines.append(f"  {guess.probability:>6.1%}  class {guess.number}{known}")
        # Text: a file's or class's name may hold what rich would read as markup.
        console.print(Text("\n".join(lines)), soft_wrap=True)
