"""Examples in the units in which they are stored, in memory or read when they are needed.

Images stay uint8 until they are on the device: an eighth of the memory of float64, and a scale and
a shift are cheap there. What 1.0 means in stored units travels along as ``value_range``, so that
normalisation is one formula for photographs (255), digits (16) and floats (1).

A fingerprint tells examples from others: it is of the contents, so that two backends that report
the same one have seen the same bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from paribus.architectures import LANGUAGE, Objective
from paribus.data.streamed import Examples, Streamed
from paribus.errors import SpecError

if TYPE_CHECKING:
    from paribus.spec.data import Transform

Array = npt.NDArray[Any]
Integers = npt.NDArray[np.int64]

# Texts that are looked at together.
_ROWS = 1 << 16


@dataclass(frozen=True)
class Tokens:
    """What is known about the tokens of a data set of texts.

    Attributes:
        tokenizer: the JSON text of its ``tokenizer.json``.
        vocabulary: how many tokens the tokenizer knows.
        mask: the number of its mask token; None where it has none.
        special: numbers of tokens that are no part of a text (padding, separators), never masked
            and never drawn as a replacement.
        widths: lengths that batches are padded to, ascending; the last is the longest text's.
    """

    tokenizer: str
    vocabulary: int
    mask: int | None
    special: tuple[int, ...]
    widths: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Dataset:
    """All examples of a source, after ``classes``, ``limit`` and ``image`` were applied.

    Attributes:
        x: uint8, float32 or float64 [N, H, W, channels] for images; float32 or float64
            [N, features] for tables; int32 [N, tokens] or [N, tokens, 2] for texts (token numbers,
            −1 past the end; the second number is the segment: 0, or 1 for the second of a pair).
            An array, or ``Streamed``, which reads rows when they are asked for.
        y: int64 [N], labels 0 … C − 1, every class has an example; for regression float64
            [N, outputs]; for language models int64 zeros [N].
        class_names: C names; label i is called ``class_names[i]``; for regression the outputs'
            names, for language models none.
        value_range: what 1.0 is in stored units: 255 for uint8 images, 16 for digits, 1 for floats.
        groups: int64 [N], or None; rows of one group must stay in one part of any split.
        given_test: int64, the rows of the source's own test set, or None where it has none.
        source_rows: int64 [N], the row numbers of the examples in their source, before ``classes``
            and ``limit``, unreadable files included; None where the examples are the source.
        tokens: for texts, else None.
        objective: what the labels are for.
        skipped: files of the source that could not be read and were left out, as the spec allows.
    """

    x: Examples
    y: Integers
    class_names: tuple[str, ...]
    value_range: float
    groups: Integers | None = None
    given_test: Integers | None = None
    source_rows: Integers | None = None
    tokens: Tokens | None = None
    objective: Objective = "classification"
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.y)

    @property
    def strata(self) -> Integers:
        """int64 [N]: what splits keep the shares of; zeros where the labels are no classes."""
        return self.y if self.class_based else np.zeros(len(self.y), dtype=np.int64)

    @property
    def class_based(self) -> bool:
        """Whether the labels are classes."""
        return self.objective == "classification"

    @property
    def classes(self) -> int:
        """How many different ``strata`` there can be: C, or 1 where no labels are classes."""
        return len(self.class_names) if self.class_based else 1

    @property
    def outputs(self) -> int:
        """Numbers that a network returns: for an example, or for a token of a language model."""
        if self.objective in LANGUAGE and self.tokens is not None:
            return self.tokens.vocabulary
        return len(self.class_names)

    @cached_property
    def lengths(self) -> Integers:
        """int64 [N], tokens of each text."""
        lengths = np.empty(len(self), dtype=np.int64)
        for start in range(0, len(self), _ROWS):
            part = slice(start, start + _ROWS)
            rows = self.x[part]
            numbers = rows[..., 0] if rows.ndim == 3 else rows
            lengths[part] = np.count_nonzero(numbers >= 0, axis=1)
        return lengths

    @property
    def channels(self) -> int:
        """Channels of images, features of tables."""
        return int(self.x.shape[-1])

    @property
    def stored_size(self) -> tuple[int, int] | None:
        """(height, width) of the stored images; None for tables."""
        return (self.x.shape[1], self.x.shape[2]) if self.x.ndim == 4 else None

    def input_shape(self, transform: Transform) -> tuple[int, ...]:
        """Return the shape of one network input: (channels, height, width), (features,), (tokens,).

        Raises:
            SpecError: the transform does not fit the examples.
        """
        if self.tokens is not None:
            return (self.tokens.widths[-1],)
        crop = crop_size(transform, self.stored_size)
        return (self.channels,) if crop is None else (self.channels, *crop)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the contents, in hexadecimal; equal for equal contents on any machine.

        Of streamed examples it is of their files' bytes (``paribus.data.contents``).
        """
        digest = hashlib.sha256(repr((self.class_names, float(self.value_range))).encode())
        for name, array in (
            ("x", self.x), ("y", self.y), ("groups", self.groups), ("test", self.given_test)
        ):  # fmt: skip
            if array is None:
                digest.update(f"|{name}:none".encode())
                continue
            if isinstance(array, Streamed):
                digest.update(f"|{name}:{array.fingerprint}".encode())
                continue
            little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
            digest.update(f"|{name}:{little.dtype.str}:{little.shape}".encode())
            digest.update(little.data)
        return digest.hexdigest()


def crop_size(transform: Transform, stored: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return (height, width) of the network's input; None for tables.

    Raises:
        SpecError: crops, padding or flips on tables, or a crop larger than the padded image.
    """
    if stored is None:
        asked = [
            name
            for name in ("crop", "pad", "horizontal_flip", "vertical_flip")
            if getattr(transform, name)
        ]
        if asked:
            raise SpecError(
                f"data.transform.{asked[0]}: the data is a table (one row of features per "
                "example), and only images can be cropped, padded or flipped; remove the key"
            )
        return None
    if transform.crop is None:
        return stored
    room = tuple(side + 2 * transform.pad for side in stored)
    if transform.crop > min(room):
        raise SpecError(
            f"data.transform.crop = {transform.crop} is larger than the images, which are "
            f"{stored[0]}×{stored[1]} ({room[0]}×{room[1]} with data.transform.pad = "
            f"{transform.pad}); allowed: up to {min(room)}, or set a larger data.image.size"
        )
    return (transform.crop, transform.crop)
