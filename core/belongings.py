"""What a model needs beside its weights before anybody can use it, in no framework's terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]


@dataclass(frozen=True)
class ImageProcessing:
    """From a picture of any size to a network's input, channels in the order red, green, blue.

    The picture is resized with antialiasing: its shorter side to ``resize`` if that is one number,
    or to (height, width). Then ``crop`` (height, width) is cut out of the centre, and each channel
    normalised: (value / 255 − mean) / std. One mean and std mean that the picture is made grey.
    """

    resize: int | tuple[int, int]
    crop: tuple[int, int]
    interpolation: Interpolation
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Belongings:
    """What goes with a model.

    Attributes:
        class_names: by class number; empty where there are none.
        image: None for models of texts and tables.
        tokenizer: the JSON text of a ``tokenizer.json``; None for models of images and tables.
        length: tokens of the longest text.
    """

    class_names: tuple[str, ...] = ()
    image: ImageProcessing | None = None
    tokenizer: str | None = None
    length: int | None = None


NOTHING = Belongings()
