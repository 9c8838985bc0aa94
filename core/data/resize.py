"""From an image of any size to the size that a network sees, in one way for everybody who asks.

A picture that is stretched loses its proportions; one that covers the size keeps them and loses
what hangs over, as published ImageNet weights expect it. Corners and rounding are torchvision's,
to the pixel.
"""

from __future__ import annotations

from typing import Literal

from PIL import Image

from paribus.errors import DataError

Fit = Literal["stretch", "cover"]

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# Pillow's own default limit; fixed here so that a global setting cannot lift it.
MAXIMUM_PIXELS = 89_478_485


def resized(
    image: Image.Image,
    size: tuple[int, int],
    fit: Fit,
    resampling: Image.Resampling,
    name: object = "an image",
) -> Image.Image:
    """Return the image at ``size`` (height, width); one of that size already is not touched.

    With ``cover`` the size is a square: the shorter side becomes as long, and the centre is cut
    out.

    Raises:
        DataError: it is so long and thin that it would become too large; it begins with ``name``.
    """
    wanted = size[1], size[0]
    scaled = wanted if fit == "stretch" else shorter_side(image.size, size[0], name)
    image = image if image.size == scaled else image.resize(scaled, resampling)
    if image.size == wanted:
        return image
    left, top = (corner(n, m) for n, m in zip(image.size, wanted, strict=True))
    return image.crop((left, top, left + wanted[0], top + wanted[1]))


def shorter_side(size: tuple[int, int], side: int, name: object) -> tuple[int, int]:
    """Return (width, height) of an image of ``size`` (width, height) once its shorter is ``side``.

    Raises:
        DataError: that would be too large; it begins with ``name``.
    """
    width, height = size
    short = min(width, height)
    found = (side * width // short, side * height // short)
    if found[0] * found[1] > MAXIMUM_PIXELS:
        raise DataError(
            f"{name}: {width}×{height} would become {found[0]}×{found[1]} with its shorter side at "
            f"{side}; crop it first"
        )
    return found


def corner(side: int, window: int) -> int:
    """Return where a window of the centre begins; half a pixel goes to the even side."""
    # Python rounds a half to the even side, and so does torchvision, which is written in it.
    return round((side - window) / 2)
