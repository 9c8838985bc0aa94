"""From a model's outputs to what people read: classes, numbers or words, for each thing asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus.architectures import Objective
from paribus.errors import DataError, RunError
from paribus.readers import Asked

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[Any]
Outputs = Callable[[Array], Floats]
LARGEST_LABELS = 1 << 24


@dataclass(frozen=True)
class Guess:
    """A class, or a token, with its probability; the label is its number where no name is known."""

    number: int
    label: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """What a model says of one input.

    Attributes:
        input: what people call it: a file, a file's row, or the text itself.
        top: the most probable classes (of a language model: tokens), the most probable one first.
        values: of regression, by name.
        position: of a masked language model, which token is guessed, counted from 0.
    """

    input: str
    top: tuple[Guess, ...] = ()
    values: dict[str, float] | None = None
    position: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what ``paribus predict --json`` prints of it."""
        if self.values is not None:
            return {"input": self.input, "values": self.values}
        place = {} if self.position is None else {"position": self.position}
        return {
            "input": self.input,
            **place,
            "top": [
                {"class": guess.number, "label": guess.label, "probability": guess.probability}
                for guess in self.top
            ],
        }


def predict(
    asked: Iterable[Asked],
    outputs: Outputs,
    objective: Objective,
    names: Sequence[str],
    top: int,
    tokenizer: str | None,
) -> list[Prediction]:
    """Answer everything that is asked, part by part.

    Args:
        asked: inputs, a bounded number at a time.
        outputs: examples → the network's outputs in float64, [N, C] or [N, T, C].
        objective: the network's.
        names: of classes or numbers; empty where none are known.
        top: how many classes or tokens to keep, at most.
        tokenizer: the JSON of a language model's.

    Raises:
        DataError: an input cannot be read, or there are not as many names as classes.
        RunError: the model's outputs are not numbers.
    """
    found: list[Prediction] = []
    for part in asked:
        numbers = outputs(part.examples)
        if not np.isfinite(numbers).all():
            raise RunError(
                f"the model's outputs for {part.names[0]} and what follows it are NaN or infinite; "
                "its weights are damaged, or its training has diverged"
            )
        if objective == "classification":
            found += _classes(part, numbers, names, top)
        elif objective == "regression":
            found += _values(part, numbers, names)
        else:
            assert tokenizer is not None
            found += _tokens(part, numbers, tokenizer, objective, top)
    return found


def softmax(logits: Floats) -> Floats:
    """Return probabilities over the last axis; float64."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def read_labels(path: Path) -> tuple[str, ...]:
    """Read class names from a text file, one a line, in the order of the class numbers.

    Raises:
        DataError: it cannot be read as UTF-8 text.
    """
    try:
        if path.stat().st_size > LARGEST_LABELS:
            raise DataError(f"{path}: has more than {LARGEST_LABELS} bytes; class names have not")
        return tuple(line.strip() for line in path.read_text("utf-8-sig").strip().splitlines())
    except (OSError, UnicodeError) as error:
        raise DataError(f"{path}: class names cannot be read from it ({error})") from error


def require_names(names: Sequence[str], classes: int) -> None:
    """Require a name for each class, or none at all.

    Raises:
        DataError: there are more or fewer.
    """
    if names and len(names) != classes:
        raise DataError(
            f"{len(names)} class names were given, but the model has {classes} classes; give one "
            "name a line, in the order of the class numbers"
        )


def _classes(part: Asked, logits: Floats, names: Sequence[str], top: int) -> list[Prediction]:
    require_names(names, logits.shape[1])
    return [
        Prediction(name, _best(row, lambda n: names[n] if names else str(n), top))
        for name, row in zip(part.names, softmax(logits), strict=True)
    ]


def _values(part: Asked, outputs: Floats, names: Sequence[str]) -> list[Prediction]:
    known = list(names) if len(names) == outputs.shape[1] else list(map(str, range(len(outputs))))
    return [
        Prediction(name, values=dict(zip(known, map(float, row), strict=False)))
        for name, row in zip(part.names, outputs, strict=True)
    ]


def _tokens(
    part: Asked, outputs: Floats, json: str, objective: Objective, top: int
) -> list[Prediction]:
    """Guess every masked token of a text, or the one that comes next."""
    from paribus.data.tokenizer import Tokenizer

    tokenizer = Tokenizer(json)

    def label(number: int) -> str:
        return tokenizer.decode([number]) or tokenizer.token(number)

    found = []
    for name, numbers, rows in zip(part.names, part.examples, outputs, strict=True):
        numbers = numbers[:, 0] if numbers.ndim == 2 else numbers
        if objective == "causal_lm":
            last = int((numbers >= 0).sum()) - 1
            found.append(Prediction(name, _best(softmax(rows[last]), label, top)))
            continue
        places = np.flatnonzero(numbers == tokenizer.mask)
        if not len(places):
            mask = "" if tokenizer.mask is None else tokenizer.token(tokenizer.mask)
            raise DataError(
                f"{name!r}: the model guesses masked tokens, and there is none; write {mask} where "
                "one is to be guessed"
            )
        found += [
            Prediction(name, _best(softmax(rows[place]), label, top), position=int(place))
            for place in places
        ]
    return found


def _best(probabilities: Floats, label: Callable[[int], str], top: int) -> tuple[Guess, ...]:
    return tuple(
        Guess(int(number), label(int(number)), float(probabilities[number]))
        # Stable: among equals the lower number comes first, on every backend.
        for number in np.argsort(-probabilities, kind="stable")[:top]
    )
