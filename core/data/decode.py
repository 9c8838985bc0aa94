"""One image, a file or the bytes of one → uint8 pixels. They are anybody's: the doors are narrow.

Few formats, named here, whatever the machine's Pillow could do besides; one frame; a bound on the
pixels that is checked on the header. Photographs are turned upright by their EXIF orientation
(JPEG, WebP), transparency is dropped, and 16-bit greys are scaled to 8 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from paribus.data.encoded import Encoded, opened
from paribus.errors import DataError

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".pbm"})
# Pillow's own default limit; fixed here so that a global setting cannot lift it.
MAXIMUM_PIXELS = 89_478_485

# Cameras append further pictures (depth, brightness) to a JPEG; Pillow then calls it MPO. The
# first one is the photograph.
_PHOTOGRAPHS = "MPO"
_ROTATING = ("JPEG", "WEBP", _PHOTOGRAPHS)
_SIDEWAYS = (5, 6, 7, 8)
_GREY_MODES = ("1", "L", "LA", "La", "I")


class Probe(NamedTuple):
    """What a header says: (height, width) when upright, and whether the image is grey."""

    size: tuple[int, int]
    grey: bool


def probe(path: Path | Encoded) -> Probe:
    """Read an image's header.

    Raises:
        DataError: unreadable, of another format, animated, or too large.
    """
    with _opened(path) as image:
        width, height = image.size
        size = (width, height) if _orientation(image) in _SIDEWAYS else (height, width)
        return Probe(size, image.mode in _GREY_MODES or image.mode.startswith("I;16"))


def decode(
    path: Path | Encoded,
    channels: int,
    size: tuple[int, int] | None,
    resampling: Image.Resampling,
) -> npt.NDArray[np.uint8]:
    """Read an image as uint8 [height, width, channels], resized to ``size`` (height, width).

    An image of that size already is not touched. ``channels`` is 1 (grey) or 3 (RGB).

    Raises:
        DataError: unreadable, truncated, of another format, animated, or too large.
    """
    with _opened(path) as image:
        upright = ImageOps.exif_transpose(image) if image.format in _ROTATING else image
        plain = _eight_bit(upright, path).convert("RGB" if channels == 3 else "L")
        if size is not None and plain.size != (size[1], size[0]):
            plain = plain.resize((size[1], size[0]), resampling)
        return np.asarray(plain, dtype=np.uint8).reshape(plain.height, plain.width, channels)


def _eight_bit(image: Image.Image, path: Path | Encoded) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow gives 16-bit greys as I;16, or (by format and version) as I; and clips them to 255.
        deep = np.asarray(image).astype(np.int64)
        return Image.fromarray(((np.clip(deep, 0, 65535) + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise DataError(f"{path}: has floating-point pixels, whose range is unknown; save 8 bits")
    return image


def _orientation(image: Image.Image) -> int:
    if image.format not in _ROTATING:
        return 1
    return int(image.getexif().get(ExifTags.Base.Orientation, 1))


@contextmanager
def _opened(path: Path | Encoded) -> Iterator[Image.Image]:
    try:
        with Image.open(opened(path), formats=FORMATS) as image:
            pixels = image.width * image.height
            if pixels > MAXIMUM_PIXELS:
                raise DataError(
                    f"{path}: {image.width}×{image.height} is {pixels} pixels; allowed: up to "
                    f"{MAXIMUM_PIXELS}. Make it smaller, or remove it"
                )
            if image.format != _PHOTOGRAPHS and getattr(image, "n_frames", 1) != 1:
                raise DataError(f"{path}: is an animation; save the one frame that is meant")
            yield image
    except (DataError, MemoryError):
        raise
    except Exception as error:
        # Decoders of damaged bytes raise almost anything (OSError, SyntaxError, struct.error, …).
        raise DataError(
            f"{path}: cannot be read as an image ({type(error).__name__}: {error}); allowed "
            f"formats: {', '.join(FORMATS)}. Mend or remove the file"
        ) from error
