"""Examples in memory, in the units in which they are stored.

Images stay uint8 until they are on the device: an eighth of the memory of float64, and a scale and
a shift are cheap there. What 1.0 means in stored units travels along as ``value_range``, so that
normalisation is one formula for photographs (255), digits (16) and floats (1).

A fingerprint of the contents goes with every run: two backends that report the same fingerprint
have seen the same bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from paribus.errors import SpecError

if TYPE_CHECKING:
    from paribus.spec.data import Transform

Array = npt.NDArray[Any]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Dataset:
    """All examples of a source, after ``classes``, ``limit`` and ``image`` were applied.

    Attributes:
        x: uint8, float32 or float64 [N, H, W, channels] for images; float32 or float64
            [N, features] for tables.
        y: int64 [N], labels 0 … C − 1; every class has an example.
        class_names: C names; label i is called ``class_names[i]``.
        value_range: what 1.0 is in stored units: 255 for uint8 images, 16 for digits, 1 for floats.
        groups: int64 [N], or None; rows of one group must stay in one part of any split.
        given_test: int64, the rows of the source's own test set, or None where it has none.
        source_rows: int64 [N], the row numbers of the examples in their source, before ``classes``
            and ``limit``; None where the examples are the source.
    """

    x: Array
    y: Integers
    class_names: tuple[str, ...]
    value_range: float
    groups: Integers | None = None
    given_test: Integers | None = None
    source_rows: Integers | None = None

    def __len__(self) -> int:
        return len(self.y)

    @property
    def classes(self) -> int:
        """C."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """Channels of images, features of tables."""
        return int(self.x.shape[-1])

    @property
    def stored_size(self) -> tuple[int, int] | None:
        """(height, width) of the stored images; None for tables."""
        return (self.x.shape[1], self.x.shape[2]) if self.x.ndim == 4 else None

    def input_shape(self, transform: Transform) -> tuple[int, ...]:
        """Return the shape of one network input: (channels, height, width), or (features,).

        Raises:
            SpecError: the transform does not fit the examples.
        """
        crop = crop_size(transform, self.stored_size)
        return (self.channels,) if crop is None else (self.channels, *crop)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the contents, in hexadecimal; equal for equal contents on any machine."""
        digest = hashlib.sha256(repr((self.class_names, float(self.value_range))).encode())
        for name, array in (
            ("x", self.x), ("y", self.y), ("groups", self.groups), ("test", self.given_test)
        ):  # fmt: skip
            if array is None:
                digest.update(f"|{name}:none".encode())
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
