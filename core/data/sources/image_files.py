"""Image files, and files that stand in a table, as one array: in memory, or decoded when needed.

Their headers are looked at first: the shape of all of them, and what is no image, are known before
anything is decoded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paribus.data.contents import Contents, Piece
from paribus.data.dataset import Array, Integers
from paribus.data.decode import Probe, decode, probe
from paribus.data.encoded import Encoded
from paribus.data.parallel import each, parallel
from paribus.data.resize import RESAMPLING
from paribus.data.streamed import Stamp, Streamed
from paribus.errors import DataError

if TYPE_CHECKING:
    from paribus.spec.data import Image


def decoded(items: Sequence[Encoded], section: Image) -> Array:
    """Return images in memory as uint8 [N, H, W, channels], as ``data.image`` asks for them.

    Raises:
        DataError: one cannot be decoded, or they differ in size and no size is asked for.
    """
    shape = _shape(items, parallel(probe, items), section)
    images = np.empty((len(items), *shape), dtype=np.uint8)
    resampling = RESAMPLING[section.interpolation]

    def place(row: int) -> None:
        images[row] = decode(
            items[row], shape[2], shape[:2], resampling, section.background, section.fit
        )

    parallel(place, range(len(items)))
    return images


def streamed(paths: list[str], section: Image) -> Streamed:
    """Return image files as uint8 [N, H, W, channels], each decoded when it is asked for.

    Raises:
        DataError: a header cannot be read, or they differ in size and no size is asked for.
    """
    # 16 bytes a file; objects would be ten times that.
    stamps = np.empty((len(paths), len(Stamp._fields)), dtype=np.int64)

    def probes() -> Iterator[Probe]:
        for row, (found, stamp) in enumerate(each(_looked_at, paths)):
            stamps[row] = stamp
            yield found

    shape = _shape(paths, probes(), section)
    resampling = RESAMPLING[section.interpolation]
    sizes = stamps[:, 0].tolist()
    contents = Contents(lambda row: Piece(paths[row], 0, sizes[row]), sizes)

    def read(rows: Integers) -> Array:
        images = np.empty((len(rows), *shape), dtype=np.uint8)

        def place(at: int) -> None:
            row = int(rows[at])
            path = Path(paths[row])
            images[at] = decode(
                path, shape[2], shape[:2], resampling, section.background, section.fit
            )
            was = Stamp(*stamps[row].tolist())
            stamps[row] = was.require(path, Stamp.of(path), lambda: contents.holds(row))

        parallel(place, range(len(rows)))
        return images

    def fingerprint() -> str:
        digest = hashlib.sha256(repr((shape, section.model_dump_json())).encode())
        digest.update(contents.sha256().encode())
        for path, stamp in zip(paths, stamps.tolist(), strict=True):
            Stamp(*stamp).require(path, Stamp.of(path))
        if not contents.whole:
            digest.update(stamps.data)
        return digest.hexdigest()

    return Streamed(read, (len(paths), *shape), np.dtype(np.uint8), fingerprint, contents.changed)


def _shape(
    names: Sequence[object], probes: Iterable[Probe], section: Image
) -> tuple[int, int, int]:
    """Return (height, width, channels) of all images, looking at each."""
    size, grey = section.size, True
    for row, found in enumerate(probes):
        grey = grey and _grey(found, section)
        size = size or found.size
        if section.size is None and found.size != size:
            raise DataError(
                f"{names[row]} is {found.size[0]}×{found.size[1]}, but {names[0]} is "
                f"{size[0]}×{size[1]} (height×width); set data.image.size to resize all "
                "images to one size"
            )
    assert size is not None  # there is an example, so an image has been looked at
    return (*size, section.channels or (1 if grey else 3))


def _looked_at(path: str) -> tuple[Probe, Stamp]:
    stamp = Stamp.of(path)
    return probe(Path(path)), stamp


def _grey(found: Probe, section: Image) -> bool:
    """Return whether an image is grey once its background is behind it."""
    return found.grey and (not found.transparent or len(set(section.background)) == 1)
