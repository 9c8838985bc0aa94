"""One image, a file or the bytes of one → uint8 pixels. They are anybody's: the doors are narrow.

Few formats, named here, whatever the machine's Pillow could do besides; one frame; a bound on the
pixels that is checked on the header. Photographs are turned upright by their EXIF orientation
(JPEG, WebP), and 16-bit greys are scaled to 8 bits.

What is behind transparent pixels is no colour that anybody drew (it is mostly black, whatever the
picture), so a transparent image is laid over a stated background: of an opacity of a/255, a value v
over b becomes (a·v + (255 − a)·b) / 255, rounded to the nearest. That happens in RGB and before
anything else: grey comes from the composed colours, and resizing never mixes in hidden ones.
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
from paribus.data.resize import MAXIMUM_PIXELS, Fit, resized
from paribus.errors import DataError

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".pbm"})

# Cameras append further pictures (depth, brightness) to a JPEG; Pillow then calls it MPO. The
# first one is the photograph.
_PHOTOGRAPHS = "MPO"
_ROTATING = ("JPEG", "WEBP", _PHOTOGRAPHS)
_SIDEWAYS = (5, 6, 7, 8)
_GREY_MODES = ("1", "L", "LA", "La", "I")
# Pillow's names for how 16-bit pixels lie in a PNG; it keeps the upper 8 bits of a colour's 16.
_DEEP_COLOUR, _DEEP_GREY_ALPHA = "RGB;16B", "LA;16B"
# By which Pillow multiplies the greys of 2 and 4 bits, but not the one that means "transparent".
_STRETCHED = {"L;2": 85, "L;4": 17}

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)


class Probe(NamedTuple):
    """What a header says of an image.

    Attributes:
        size: (height, width) when upright.
        grey: whether its own pixels are grey.
        transparent: whether they can be transparent.
    """

    size: tuple[int, int]
    grey: bool
    transparent: bool


def probe(path: Path | Encoded) -> Probe:
    """Read an image's header.

    Raises:
        DataError: unreadable, of another format, animated, or too large.
    """
    with _opened(path) as image:
        width, height = image.size
        size = (width, height) if _orientation(image) in _SIDEWAYS else (height, width)
        deep = image.mode.startswith("I;16") or _raw_mode(image) == _DEEP_GREY_ALPHA
        return Probe(size, deep or image.mode in _GREY_MODES, image.has_transparency_data)


def decode(
    path: Path | Encoded,
    channels: int,
    size: tuple[int, int] | None,
    resampling: Image.Resampling,
    background: Colour,
    fit: Fit = "stretch",
) -> npt.NDArray[np.uint8]:
    """Read an image as uint8 [height, width, channels], at ``size`` (height, width).

    An image of that size already is not touched. ``channels`` is 1 (grey: ITU-R 601 luma) or 3
    (RGB); ``background`` (red, green, blue; 0 … 255) is behind transparent pixels; ``fit`` is of
    ``resize.resized``.

    Raises:
        DataError: unreadable, truncated, of another format, animated, or too large.
    """
    with _opened(path) as image:
        # Before the pixels are read, which is when Pillow forgets how they lie in the file.
        key = _transparent_value(image)
        upright = ImageOps.exif_transpose(image) if image.format in _ROTATING else image
        plain = _over(upright, key, background, path)
        if channels == 3 or plain.mode not in ("1", "L"):
            plain = plain.convert("RGB")
        if channels == 1:
            plain = plain.convert("L")
        if size is not None:
            plain = resized(plain, size, fit, resampling, path)
        return np.asarray(plain, dtype=np.uint8).reshape(plain.height, plain.width, channels)


def _over(
    image: Image.Image, key: int | Colour | None, background: Colour, path: Path | Encoded
) -> Image.Image:
    """Return the image without transparency and with 8 bits a value, in any mode."""
    if image.mode == "F":
        raise DataError(f"{path}: has floating-point pixels, whose range is unknown; save 8 bits")
    deep = image.mode.startswith("I")
    plain = _eight_bit(image) if deep else image
    if key is not None:
        # Compared before 16 bits become 8: neighbours of the transparent grey are not transparent.
        values = np.asarray(image if deep or image.mode == "RGB" else image.convert("L"))
        equal = values == np.asarray(key)
        opaque = ~(equal if values.ndim == 2 else equal.all(axis=2))
        mask = Image.fromarray(opaque.astype(np.uint8) * np.uint8(255))
    elif not deep and image.has_transparency_data:
        plain = image.convert("RGBA")
        mask = plain.getchannel("A")
    else:
        return plain
    canvas = Image.new("RGB", image.size, background)
    canvas.paste(plain.convert("RGB"), mask=mask)
    return canvas


def _eight_bit(image: Image.Image) -> Image.Image:
    # Pillow gives 16-bit greys as I;16, or (by format and version) as I; and clips them to 255.
    deep = np.asarray(image).astype(np.int64)
    return Image.fromarray(((np.clip(deep, 0, 65535) + 128) // 257).astype(np.uint8))


def _transparent_value(image: Image.Image) -> int | Colour | None:
    """Return the one value that means "transparent" in a PNG without alpha; None without one.

    It is in the units of the decoded pixels; Pillow's own answer is wrong for greys of 2, 4 and 16
    bits and for colours of 16 bits.
    """
    key = image.info.get("transparency")
    if image.format != "PNG" or image.mode.startswith("P"):
        return None
    raw = _raw_mode(image)
    if isinstance(key, tuple):
        red, green, blue = (value >> 8 if raw == _DEEP_COLOUR else value for value in key)
        return (red, green, blue)
    return key * _STRETCHED.get(raw, 1) if isinstance(key, int) else None


def _raw_mode(image: Image.Image) -> str:
    """Return how a PNG's pixels lie in the file, by Pillow's names; nothing for other formats."""
    tiles = getattr(image, "tile", ())
    return str(tiles[0][3]) if image.format == "PNG" and tiles else ""


def _orientation(image: Image.Image) -> int:
    if image.format not in _ROTATING:
        return 1
    return int(image.getexif().get(ExifTags.Base.Orientation, 1))


@contextmanager
def _opened(path: Path | Encoded) -> Iterator[Image.Image]:
    try:
        with opened(path) as file, Image.open(file, formats=FORMATS) as image:
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
