"""Images of any mode: what a pixel is worth, and what shows behind a transparent one."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pngs import COLOUR, GREY, GREY_ALPHA, png

from paribus import data
from paribus.data import pictures
from paribus.spec.data import Data

BEHIND = (200, 30, 90)
Pixels = npt.NDArray[np.uint8]


def over(values: Any, alpha: Any) -> Pixels:
    """Return the colours over ``BEHIND`` by the formula, rounded to the nearest."""
    a = np.asarray(alpha, dtype=np.int64)[..., None]
    mixed = a * np.asarray(values, dtype=np.int64) + (255 - a) * np.array(BEHIND)
    return ((2 * mixed + 255) // 510).astype(np.uint8)


def luma(colours: Pixels) -> Pixels:
    """Return grey as ITU-R 601 weighs it, in Pillow's 16-bit fixed point."""
    weights = np.array([19595, 38470, 7471])
    return (((colours.astype(np.int64) @ weights) + 0x8000) >> 16).astype(np.uint8)


def read(path: Path, channels: int | None, background: tuple[int, int, int] = BEHIND) -> Pixels:
    """Return the pixels that training sees, having made sure that prediction sees the same."""
    folder = path.with_name(f"{path.name} images")
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / path.name).write_bytes(path.read_bytes())
    image = {"background": background, "channels": channels}
    found = data.load(Data(source="image_folder", path=str(folder), image=image), seed=0).x
    height, width = found.shape[1:3]
    predicted = pictures.fitted([path], (height, width), found.shape[3], "bilinear", background)
    np.testing.assert_array_equal(found[0], predicted[0])
    return np.asarray(found[0])


VALUES = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOURS = np.stack([VALUES, VALUES[::-1], VALUES.T], axis=-1)
ALPHA = np.rot90(VALUES)


def transparent(mode: str) -> tuple[Image.Image, Pixels, Pixels]:
    """Return an image, its colours and its alpha."""
    if mode == "RGBA":
        return Image.fromarray(np.dstack([COLOURS, ALPHA])), COLOURS, ALPHA
    if mode == "LA":
        return Image.fromarray(np.dstack([VALUES, ALPHA])), VALUES[..., None].repeat(3, 2), ALPHA
    palette = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
    image = Image.fromarray(VALUES)
    image.putpalette(palette.tobytes())
    if mode == "P":
        image.info["transparency"] = bytes(ALPHA.ravel().tolist())
        return image, palette[VALUES], ALPHA
    image.info["transparency"] = 7
    return image, palette[VALUES], np.where(VALUES == 7, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "webp"])
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "P with one transparent colour"])
def test_transparent_pixels_show_the_background(tmp_path: Path, mode: str, suffix: str) -> None:
    image, colours, alpha = transparent(mode)
    if suffix == "webp":
        # Without `exact` the encoder changes colours that nobody sees.
        image.convert("RGBA").save(tmp_path / "x.webp", lossless=True, exact=True)
    else:
        image.save(tmp_path / "x.png")
    expected = over(colours, alpha)
    np.testing.assert_array_equal(read(tmp_path / f"x.{suffix}", 3), expected)
    np.testing.assert_array_equal(read(tmp_path / f"x.{suffix}", 1)[..., 0], luma(expected))
    white = read(tmp_path / f"x.{suffix}", 3, (255, 255, 255))
    assert (white[alpha == 0] == 255).all()


def deep(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


# Two pixels each, of which only the first is the transparent one that tRNS names.
KEYS: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "grey 1": (png(2, 1, 1, GREY, b"\x80", (b"tRNS", deep(1))), (0, 0, 0)),
    "grey 2": (png(2, 1, 2, GREY, b"\x60", (b"tRNS", deep(1))), (170, 170, 170)),
    "grey 4": (png(2, 1, 4, GREY, b"\x79", (b"tRNS", deep(7))), (153, 153, 153)),
    "grey 8": (png(2, 1, 8, GREY, b"\x07\x09", (b"tRNS", deep(7))), (9, 9, 9)),
    # 2571 and 2570 are one grey of 8 bits, but only one of them is transparent.
    "grey 16": (png(2, 1, 16, GREY, deep(2570, 2571), (b"tRNS", deep(2570))), (10, 10, 10)),
    "colour 8": (png(2, 1, 8, COLOUR, bytes([1, 2, 3, 1, 2, 4]), (b"tRNS", deep(1, 2, 3))),
                 (1, 2, 4)),
    "colour 16": (png(2, 1, 16, COLOUR, deep(2561, 5120, 7680, 2561, 5120, 9999),
                      (b"tRNS", deep(2561, 5120, 7680))), (10, 20, 39)),
}  # fmt: skip


@pytest.mark.parametrize(("content", "second"), KEYS.values(), ids=KEYS)
def test_one_value_that_means_transparent(
    tmp_path: Path, content: bytes, second: tuple[int, ...]
) -> None:
    (tmp_path / "x.png").write_bytes(content)
    np.testing.assert_array_equal(read(tmp_path / "x.png", 3), [[BEHIND, second]])
    grey = luma(np.array([[BEHIND, second]], dtype=np.uint8))
    np.testing.assert_array_equal(read(tmp_path / "x.png", 1)[..., 0], grey)


def test_grey_stays_grey_unless_the_background_has_a_colour(tmp_path: Path) -> None:
    transparent("LA")[0].save(tmp_path / "x.png")
    assert read(tmp_path / "x.png", None, (9, 9, 9)).shape == (16, 16, 1)
    assert read(tmp_path / "x.png", None, BEHIND).shape == (16, 16, 3)
    (tmp_path / "y.png").write_bytes(png(2, 1, 16, GREY_ALPHA, deep(2570, 0, 5140, 65535)))
    assert read(tmp_path / "y.png", None, (9, 9, 9)).tolist() == [[[9], [20]]]


def test_hidden_colours_are_not_mixed_in_by_resizing(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 4), dtype=np.uint8)
    pixels[:, :2] = (255, 0, 255, 0)
    pixels[:, 2:] = (0, 0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    (seen,) = pictures.fitted([tmp_path / "x.png"], (2, 1), 3, "bilinear", (255, 255, 255))
    # Grey between white and black; of the magenta behind the transparent half nothing shows.
    assert len(set(seen.reshape(-1))) == 1


@pytest.mark.parametrize(
    ("depth", "rows", "values"),
    [
        (1, b"\x40", [0, 255]),
        (2, b"\x60", [85, 170]),
        (8, b"\x07\xf9", [7, 249]),
        (16, deep(257 * 90 + 128, 257 * 90 + 129), [90, 91]),
    ],
)
def test_greys_of_any_depth_fill_eight_bits(
    tmp_path: Path, depth: int, rows: bytes, values: list[int]
) -> None:
    (tmp_path / "x.png").write_bytes(png(2, 1, depth, GREY, rows))
    assert read(tmp_path / "x.png", None)[..., 0].tolist() == [values]
    (tmp_path / "x.pgm").write_bytes(b"P5 2 1 65535\n" + deep(257 * 3, 65535))
    assert read(tmp_path / "x.pgm", 1)[..., 0].tolist() == [[3, 255]]


def test_photographs_of_other_colour_spaces(tmp_path: Path) -> None:
    """JPEG stores luma and chroma, or four inks; both become the colours that were meant."""
    for mode, colour in (("RGB", (180, 90, 40)), ("CMYK", (60, 120, 200, 20)), ("L", 77)):
        path = tmp_path / mode / "x.jpg"
        path.parent.mkdir()
        Image.new(mode, (16, 16), colour).save(path, quality=95)
        if mode == "CMYK":
            cyan, magenta, yellow, black = colour
            colour = tuple((255 - ink) * (255 - black) // 255 for ink in (cyan, magenta, yellow))
        # JPEG rounds in its own colour space: a level or two.
        assert np.abs(read(path, 3).astype(int) - np.asarray(colour)).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_upright_whichever_way_the_camera_was_held(
    tmp_path: Path, orientation: int
) -> None:
    upright = np.zeros((16, 24), dtype=np.uint8)
    upright[:8, :8] = 255
    undo = {
        1: lambda x: x,
        2: np.fliplr,
        3: lambda x: np.rot90(x, 2),
        4: np.flipud,
        5: np.transpose,
        6: lambda x: np.rot90(x, 1),
        7: lambda x: np.rot90(x, 2).T,
        8: lambda x: np.rot90(x, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    for suffix, options in (("jpg", {"quality": 95}), ("webp", {"lossless": True})):
        path = tmp_path / suffix / f"x.{suffix}"
        path.parent.mkdir()
        stored = np.ascontiguousarray(undo[orientation](upright))
        Image.fromarray(stored).save(path, exif=exif, **options)
        seen = read(path, 1)[..., 0]
        assert seen.shape == upright.shape
        assert np.abs(seen.astype(int) - upright).max() <= 8
