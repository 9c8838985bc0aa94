"""Image files that somebody wants predictions for: any sizes in, one array out.

Decoding is that of ``data.image_folder``, so a file means the same pixels in training and after
it. A trained run resizes to the size that its examples had; a published checkpoint wants the
shorter side resized and the centre cut out, as torchvision does it, to the pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from paribus.belongings import ImageProcessing
from paribus.data.decode import SUFFIXES, WHITE, Colour, decode, probe
from paribus.data.parallel import parallel
from paribus.data.resize import RESAMPLING, Fit, corner, shorter_side
from paribus.errors import DataError
from paribus.filenames import is_file, is_folder

Pixels = npt.NDArray[np.uint8]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]


def require(paths: Sequence[Path]) -> None:
    """Require that every path is an image, by its header: before a framework is imported.

    Raises:
        DataError: no such file, a folder, or not an image that can be read.
    """
    for path in paths:
        if is_folder(path):
            raise DataError(f"{path} is a folder; name the images in it: {path}/*")
        if not is_file(path):
            raise DataError(f"{path}: there is no such file")
        if path.suffix.lower() not in SUFFIXES:
            raise DataError(
                f"{path}: not an image that can be read; allowed: {', '.join(sorted(SUFFIXES))}"
            )
    parallel(probe, paths)


def fitted(
    paths: Sequence[Path],
    size: tuple[int, int],
    channels: int,
    interpolation: Interpolation,
    background: Colour,
    fit: Fit = "stretch",
) -> Pixels:
    """Return images uint8 [N, height, width, channels], each at ``size``.

    ``background`` (red, green, blue) is behind transparent pixels; ``fit`` is of
    ``resize.resized``.

    Raises:
        DataError: a file cannot be decoded.
    """
    resampling = RESAMPLING[interpolation]

    def read(path: Path) -> Pixels:
        return decode(path, channels, size, resampling, background, fit)

    return np.stack(parallel(read, paths))


def published(paths: Sequence[Path], wanted: ImageProcessing) -> Pixels:
    """Return images uint8 [N, height, width, channels], resized and the centre cut out.

    Transparent pixels show white.

    Raises:
        DataError: a file cannot be decoded, or is too long and thin to be resized.
    """
    return np.stack(parallel(lambda path: _published(path, wanted), paths))


def _published(path: Path, wanted: ImageProcessing) -> Pixels:
    resampling, channels = RESAMPLING[wanted.interpolation], len(wanted.mean)
    whole = decode(path, channels, None, resampling, WHITE)
    image = Image.fromarray(whole if channels == 3 else whole[..., 0])
    size = _resized(image.size, wanted.resize, path)
    image = image if image.size == size else image.resize(size, resampling)
    height, width = wanted.crop
    left, top = (
        _corner(side, crop, wanted) for side, crop in zip(size, (width, height), strict=True)
    )
    cut = image.crop((left, top, left + width, top + height))
    return np.asarray(cut, dtype=np.uint8).reshape(height, width, channels)


def _resized(size: tuple[int, int], resize: int | tuple[int, int], path: Path) -> tuple[int, int]:
    """Return (width, height) of a picture of ``size`` (width, height) once it is resized."""
    if isinstance(resize, tuple):
        return resize[1], resize[0]
    return shorter_side(size, resize, path)


def _corner(side: int, crop: int, wanted: ImageProcessing) -> int:
    """Return where the window of the centre begins."""
    return corner(side, crop) if wanted.half == "even" else (side - crop) // 2
