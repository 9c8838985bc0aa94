"""From logits to what people read: the most probable classes of each file, with their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus.data import pictures
from paribus.errors import DataError, RunError

Floats = npt.NDArray[np.float64]
Read = Callable[[Sequence[Path]], npt.NDArray[Any]]
Logits = Callable[[npt.NDArray[Any]], Floats]

# Files that are decoded and computed at a time, so that any number of them fits the memory.
CHUNK = 256


@dataclass(frozen=True)
class Guess:
    """A class with its probability; the label is the class number where no name is known."""

    number: int
    label: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of one file, the most probable one first."""

    input: str
    top: tuple[Guess, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return what ``paribus predict --json`` prints of it."""
        return {
            "input": self.input,
            "top": [
                {"class": guess.number, "label": guess.label, "probability": guess.probability}
                for guess in self.top
            ],
        }


def predict(
    paths: Sequence[Path], read: Read, logits: Logits, names: Sequence[str] | None, top: int
) -> list[Prediction]:
    """Classify image files, a bounded number at a time.

    Args:
        paths: files; all are looked at before ``logits`` is called for the first time.
        read: decodes files to one array [N, …].
        logits: arrays to float64 [N, classes].
        names: of the classes, by number; None for the numbers themselves.
        top: how many classes to keep, at most.

    Raises:
        DataError: a file is not an image, or the number of names is not that of the classes.
        RunError: the model's outputs are not numbers.
    """
    pictures.require(paths)
    found: list[Prediction] = []
    for start in range(0, len(paths), CHUNK):
        chunk = paths[start : start + CHUNK]
        found += _ranked(chunk, logits(read(chunk)), names, top)
    return found


def softmax(logits: Floats) -> Floats:
    """Return probabilities; float64 [N, classes]."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def read_labels(path: Path) -> tuple[str, ...]:
    """Read class names from a text file, one a line, in the order of the class numbers.

    Raises:
        DataError: it cannot be read as UTF-8 text.
    """
    try:
        return tuple(line.strip() for line in path.read_text("utf-8-sig").strip().splitlines())
    except (OSError, UnicodeError) as error:
        raise DataError(f"{path}: class names cannot be read from it ({error})") from error


def _ranked(
    paths: Sequence[Path], logits: Floats, names: Sequence[str] | None, top: int
) -> list[Prediction]:
    classes = logits.shape[1]
    if names is None:
        names = [str(number) for number in range(classes)]
    if len(names) != classes:
        raise DataError(
            f"{len(names)} class names were given, but the model has {classes} classes; give one "
            "name a line, in the order of the class numbers"
        )
    if not np.isfinite(logits).all():
        raise RunError(
            f"the model's outputs for {paths[0]} and the files after it are NaN or infinite; its "
            "weights are damaged, or its training has diverged"
        )
    return [
        Prediction(
            str(path),
            tuple(
                Guess(int(number), names[number], float(row[number]))
                # Stable: among equals the lower number comes first, on every backend.
                for number in np.argsort(-row, kind="stable")[:top]
            ),
        )
        for path, row in zip(paths, softmax(logits), strict=True)
    ]
