"""Images to one size and one number of channels: once, on the CPU, the same for every backend.

Frameworks resize differently (corners, antialiasing, rounding), so none of them gets to: Pillow
does it, plane by plane, with antialiasing when it makes images smaller. Images that already fit are
passed on untouched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
from PIL import Image

from paribus.data.dataset import Array
from paribus.data.resize import RESAMPLING
from paribus.data.resize import resized as resize
from paribus.data.streamed import Streamed
from paribus.errors import DataError, SpecError

if TYPE_CHECKING:
    from paribus.spec.data import Image as Section

# ITU-R 601 luma in 16-bit fixed point: what Pillow uses to turn RGB into grey.
_LUMA = np.array([19595, 38470, 7471], dtype=np.uint32)


Some = TypeVar("Some", Array, Streamed)


def conform(x: Some, section: Section, value_range: float) -> Some:
    """Return images [N, H, W, channels] of the asked size and channels; tables unchanged.

    Resized values stay within 0 … ``value_range`` where the stored values are uint8. Streamed
    images are changed as they are read.

    Raises:
        SpecError: a size or channels for tables, or resizing float64.
        DataError: channels that cannot be turned into those asked for.
    """
    if isinstance(x, Streamed):
        if conform(x[:1], section, value_range).shape[1:] == x.shape[1:]:
            return x  # every change is one of the shape
        what = section.model_dump_json()
        return x.mapped(lambda some: conform(some, section, value_range), what)
    if x.ndim != 4:
        asked = [name for name in ("size", "channels") if getattr(section, name) is not None]
        if asked:
            raise SpecError(
                f"data.image.{asked[0]}: the data is a table (one row of features per example), "
                "not images; remove the key, or store images as [N, height, width, channels]"
            )
        return x
    wanted = section.channels or x.shape[3]
    if wanted == 1 and x.shape[3] == 3:
        x = _grey(x)
    if section.size is not None and tuple(section.size) != x.shape[1:3]:
        x = _resized(x, section, value_range)
    if wanted == 3 and x.shape[3] == 1:
        x = np.repeat(x, 3, axis=3)
    if wanted != x.shape[3]:
        raise DataError(
            f"data.image.channels = {wanted}: images of {x.shape[3]} channels cannot be turned "
            "into that; allowed: 1 to 3 and 3 to 1. Remove the key to keep them as they are"
        )
    return x


def _grey(x: Array) -> Array:
    if x.dtype == np.uint8:
        luma = np.empty((*x.shape[:3], 1), dtype=np.uint8)
        for i, image in enumerate(x):
            luma[i, ..., 0] = (image @ _LUMA + 0x8000) >> 16
        return luma
    return np.asarray((x @ (_LUMA / 65536)).astype(x.dtype)[..., np.newaxis])


def _resized(x: Array, section: Section, value_range: float) -> Array:
    if section.size is None or x.dtype == np.float64:
        raise SpecError(
            f"data.image.size = {section.size}: images of dtype {x.dtype} cannot be resized; store "
            "them as uint8 or float32"
        )
    height, width = section.size
    resampling = RESAMPLING[section.interpolation]
    resized = np.empty((len(x), height, width, x.shape[3]), dtype=x.dtype)
    for i in range(len(x)):
        for channel in range(x.shape[3]):
            plane = Image.fromarray(np.ascontiguousarray(x[i, :, :, channel]))
            changed = resize(plane, section.size, section.fit, resampling)
            resized[i, :, :, channel] = np.asarray(changed)
    if x.dtype == np.uint8 and value_range < 255:
        # Cubic and Lanczos overshoot; Pillow only stops at 255.
        np.minimum(resized, np.uint8(value_range), out=resized)
    return resized
