"""What somebody asks a model about, and how it becomes the model's input.

People give files, texts or arrays; a network reads what its training data was. Which of the two
readings a model has is decided by what it was trained on, and reading is that of training, so a
picture or a text means the same in both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from paribus.data import pictures
from paribus.data.streamed import Examples, Streamed
from paribus.errors import DataError
from paribus.plan import Preprocess

Array = npt.NDArray[Any]

# Files that are decoded and computed at a time, so that any number of them fits the memory.
PICTURES_AT_ONCE = 256
# A language model's outputs for a text are as many as its vocabulary, for each token.
TEXTS_AT_ONCE = 16
STEP = 16


class Asked(NamedTuple):
    """Some inputs: what people call each, and the examples [N, …] that they are."""

    names: list[str]
    examples: Array


class Reader(ABC):
    """How one kind of example is read."""

    @abstractmethod
    def inputs(self, given: Sequence[str]) -> Iterator[Asked]:
        """Read what was named on a command line, a bounded number at a time.

        All of it is looked at before the first is handed out: before a framework is imported.

        Raises:
            DataError: it cannot be read, or is of another kind.
        """

    @abstractmethod
    def array(self, given: Any) -> Array:
        """Return examples given in Python as the network's data has them.

        Raises:
            DataError: they do not fit.
        """


class Pictures(Reader):
    """Image files; in Python arrays as they come out of ``data.image``.

    Args:
        decode: files → [N, H, W, channels].
        stored: the shape of an example, (H, W, channels).
    """

    def __init__(self, decode: Callable[[Sequence[Path]], Array], stored: tuple[int, ...]) -> None:
        self._decode, self._stored = decode, stored

    def inputs(self, given: Sequence[str]) -> Iterator[Asked]:
        """Decode image files."""
        paths = [Path(name) for name in given]
        pictures.require(paths)
        for start in range(0, len(paths), PICTURES_AT_ONCE):
            some = paths[start : start + PICTURES_AT_ONCE]
            yield Asked([str(path) for path in some], self._decode(some))

    def array(self, given: Any) -> Array:
        """Take images [N, H, W, channels], or [N, H, W] with one channel."""
        return _numbers(given, self._stored)


class Rows(Reader):
    """Rows of a table; there are no files of them to predict."""

    def __init__(self, features: int) -> None:
        self._stored = (features,)

    def inputs(self, given: Sequence[str]) -> Iterator[Asked]:
        """Refuse."""
        raise DataError(
            "the run was trained on tables (one row of features per example), not on images or "
            "texts; use paribus.Result(folder).predict(array)"
        )

    def array(self, given: Any) -> Array:
        """Take rows [N, features]."""
        return _numbers(given, self._stored)


class Texts(Reader):
    """Texts, by the tokenizer that the model was trained with.

    Args:
        tokenizer: the JSON of its ``tokenizer.json``.
        length: tokens that the network reads.
        columns: of a table, for files of them: one, or two for pairs.
    """

    def __init__(self, tokenizer: str, length: int, columns: Sequence[str]) -> None:
        self.tokenizer, self._length, self._columns = tokenizer, length, tuple(columns)

    def inputs(self, given: Sequence[str]) -> Iterator[Asked]:
        """Read files (.txt one text, tables one a row), and anything else as the text itself."""
        from paribus.data import passages

        paths = [Path(text) for text in given if _is_file(text)]
        passages.require(paths, self._columns)
        if len(self._columns) > 1 and len(paths) < len(given):
            raise DataError(
                "the model reads pairs of texts; put them into the columns "
                f"{' and '.join(self._columns)} of a .csv, .jsonl or .parquet file"
            )
        names: list[str] = []
        texts: list[Any] = []
        for text in given:
            if _is_file(text):
                found = passages.from_files([Path(text)], self._columns)
                names += found.names
                texts += found.texts
            else:
                names.append(text)
                texts.append(text)
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            part = slice(start, start + TEXTS_AT_ONCE)
            yield Asked(names[part], self.array(texts[part]))

    def array(self, given: Any) -> Array:
        """Take texts, or pairs of texts."""
        from paribus.data import passages

        pairs = len(self._columns) > 1
        texts = [given] if isinstance(given, str) else list(given)
        if not all(_fits(text, pairs) for text in texts):
            raise DataError(
                "predict: expected "
                + ("pairs of texts, such as ('one', 'two')" if pairs else "texts")
                + f"; received {_kinds(texts)}"
            )
        known = [tuple(text) for text in texts] if pairs else texts
        return passages.encode(known, self.tokenizer, self._length)


def shortened(preprocess: Preprocess, examples: Examples) -> Preprocess:
    """Return the preprocessing for texts that are all short: padding changes nothing and costs.

    The length is rounded up, so that few different ones occur: each may be compiled anew.
    """
    if preprocess.length is None or isinstance(examples, Streamed):
        return preprocess
    numbers = examples[..., 0] if examples.ndim == 3 else examples
    longest = int((numbers >= 0).sum(axis=1).max(initial=1))
    length = min(preprocess.length, -(-longest // STEP) * STEP)
    return replace(preprocess, length=length)


def _is_file(text: str) -> bool:
    """Whether a text is the name of a file: by how it ends, or because there is one."""
    from paribus.data import passages

    if text.lower().endswith((passages.PLAIN, *passages.TABLES)):
        return True
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # longer than any name
        return False


def _fits(text: Any, pairs: bool) -> bool:
    if not pairs:
        return isinstance(text, str)
    return (
        isinstance(text, (tuple, list)) and len(text) == 2 and all(isinstance(t, str) for t in text)
    )


def _kinds(texts: Sequence[Any]) -> str:
    return ", ".join(sorted({type(text).__name__ for text in texts})) or "nothing"


def _numbers(given: Any, stored: tuple[int, ...]) -> Array:
    try:
        x = np.asarray(given)
    except ValueError as error:
        raise DataError(f"predict: the examples have no common shape: {error}") from error
    if x.dtype.kind not in "buif":
        raise DataError(f"predict: received values of type {x.dtype}; expected real numbers")
    if x.ndim == len(stored) and stored[-1] == 1 and x.shape[1:] == stored[:-1]:
        x = x[..., None]
    if x.shape[1:] != stored or len(x) == 0:
        raise DataError(
            f"predict: received an array of shape {x.shape}; expected at least one example "
            f"in shape (N, {', '.join(map(str, stored))}): stored units, after data.image"
        )
    if x.dtype != np.uint8:
        x = x.astype(np.float64)
        if not np.isfinite(x).all():
            raise DataError("predict: the examples contain NaN or infinite values")
    return x
