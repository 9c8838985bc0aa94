"""What a model needs beside its weights before anybody can use it, in no framework's terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]


@dataclass(frozen=True)
class ImageProcessing:
    """From a picture of any size to a network's input, channels in the order red, green, blue.

    The picture is resized with antialiasing: its shorter side to ``resize`` if that is one number,
    or to (height, width). Then ``crop`` (height, width) is cut out of the centre, and each channel
    normalised: (value / 255 − mean) / std. One mean and std mean that the picture is made grey.
    Where half a pixel is left over, the window's corner is rounded ``down``, as in a run and by
    transformers, or to the ``even`` side, as by torchvision.
    """

    resize: int | tuple[int, int]
    crop: tuple[int, int]
    interpolation: Interpolation
    mean: tuple[float, ...]
    std: tuple[float, ...]
    half: Literal["down", "even"] = "down"


def of_stored(
    stored: tuple[int, int, int],
    white: float,
    interpolation: Interpolation,
    scale: Sequence[float],
    shift: Sequence[float],
    crop: tuple[int, int] | None,
) -> ImageProcessing | None:
    """Return what makes a picture the input that a run made of its stored examples.

    Args:
        stored: (height, width, channels) of the examples; None is returned but for 1 or 3 channels.
        white: the largest value that they can have.
        interpolation: of pictures that have another size.
        scale, shift, crop: of ``plan.Preprocess``: value · scale − shift of the centre.
    """
    height, width, channels = stored
    if channels not in (1, 3):
        return None
    # value / white is the picture's own value / 255.
    std = [1.0 / (white * value) for value in scale]
    mean = [subtracted * deviation for subtracted, deviation in zip(shift, std, strict=True)]
    whole = channels // len(std)
    size = (height, width)
    return ImageProcessing(
        size, crop or size, interpolation, tuple(mean) * whole, tuple(std) * whole
    )


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
