"""Examples that are read when they are needed: the same numbers, and none of the memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from command import python
from PIL import Image

from paribus import data
from paribus.data import Streamed, contents, memory, streamed
from paribus.data.sources import npz
from paribus.errors import DataError
from paribus.spec.data import Data, Transform

Array = npt.NDArray[Any]
Load = Callable[..., data.Dataset]

Y = np.arange(12) % 3
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write arrays, if there are any, and load them."""

    def write_and_load(how: str, changes: dict[str, Any] | None = None, **arrays: Any) -> Any:
        path = tmp_path / "data.npz"
        if arrays:
            np.savez(path, **arrays)
        return data.load(Data(source="npz", path=str(path), memory=how, **(changes or {})), seed=0)

    return write_and_load


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for row, pixels in enumerate(IMAGES):
        path = tmp_path / "images" / "abc"[Y[row]] / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / "images"


def images_of(folder: Path, how: str, **image: Any) -> data.Dataset:
    section = Data(source="image_folder", path=str(folder), memory=how, image=image)
    return data.load(section, seed=0)


def same(streams: data.Dataset, loaded: data.Dataset) -> None:
    """Assert that streamed examples are those in memory, by any rows in any order."""
    assert isinstance(streams.x, Streamed)
    assert isinstance(loaded.x, np.ndarray)
    assert (streams.x.shape, streams.x.dtype) == (loaded.x.shape, loaded.x.dtype)
    assert (streams.x.ndim, len(streams.x), streams.x.nbytes) == (
        loaded.x.ndim, len(loaded.x), loaded.x.nbytes,
    )  # fmt: skip
    rows = np.random.default_rng(1).integers(0, len(loaded.x), 40)
    for chosen in (rows, rows[:1], np.sort(rows), rows[:0], np.unique(rows)[::-1]):
        np.testing.assert_array_equal(streams.x[chosen], loaded.x[chosen])
    np.testing.assert_array_equal(streams.x[2:9:3], loaded.x[2:9:3])
    np.testing.assert_array_equal(np.asarray(streams.x), loaded.x)
    np.testing.assert_array_equal(streams.y, loaded.y)
    np.testing.assert_array_equal(streams.source_rows, loaded.source_rows)


@pytest.mark.parametrize("dtype", ["u1", "i2", "?", "f2", ">f4", "f4", "i8", "f8"])
def test_tables_of_any_type(load: Load, dtype: str) -> None:
    x = (np.arange(48).reshape(12, 4) % 7).astype(dtype)
    same(load("stream", x=x, y=Y), load("load"))


@pytest.mark.parametrize(
    "image",
    [{}, {"channels": 1}, {"size": (3, 9)}, {"size": (6, 5)},
     {"size": (9, 3), "channels": 1, "interpolation": "lanczos"}],
    ids=str,
)  # fmt: skip
def test_images_are_changed_as_they_are_read(
    load: Load, folder: Path, image: dict[str, Any]
) -> None:
    same(load("stream", {"image": image}, x=IMAGES, y=Y), load("load", {"image": image}))
    same(images_of(folder, "stream", **image), images_of(folder, "load", **image))


def test_grey_images_get_a_channel_axis_or_three(load: Load) -> None:
    same(load("stream", x=IMAGES[..., 0], y=Y), load("load"))
    colours = {"image": {"channels": 3}}
    same(load("stream", colours), load("load", colours))
    floats = (IMAGES / 255).astype("f4")
    same(load("stream", {"image": {"size": (4, 4)}}, x=floats, y=Y),
         load("load", {"image": {"size": (4, 4)}}))  # fmt: skip


def test_parts_join_and_choices_choose(load: Load) -> None:
    parts = {
        "x_train": IMAGES, "y_train": Y, "x_val": IMAGES[:3], "y_val": Y[:3],
        "x_test": IMAGES[6:], "y_test": Y[6:],
    }  # fmt: skip
    for changes in ({}, {"classes": [2, 0]}, {"limit": 9}, {"classes": [1, 2], "limit": 6}):
        same(load("stream", changes, **parts), load("load", changes))


def test_what_is_in_memory_anyway_can_be_streamed_too() -> None:
    same(data.load(Data(memory="stream", limit=50), 0), data.load(Data(limit=50), 0))


def test_normalisation_over_training_rows_is_the_same_to_the_bit(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paribus.data.transforms._CHUNK_VALUES", 200)
    rows = np.array([0, 3, 4, 9, 11])
    for x in (IMAGES, np.random.default_rng(2).normal(size=(12, 4))):
        ways = [load("stream", x=x, y=Y), load("load")]
        fitted = [data.fit(way, rows, Transform(normalize="train")) for way in ways]
        assert fitted[0] == fitted[1]


def test_nan_is_found_before_anything_trains(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "PIECE_BYTES", 64)
    x = np.ones((12, 4))
    x[[4, 11], 2] = np.nan
    with pytest.raises(DataError, match="NaN or infinity in rows 4, 11 of 12"):
        load("stream", x=x, y=Y)


def test_rows_that_are_not_there(load: Load) -> None:
    x = load("stream", x=IMAGES, y=Y).x
    for row in (-1, 12):
        with pytest.raises(IndexError):
            x[np.array([0, row])]


def test_auto_streams_what_is_more_than_a_quarter_of_the_memory(
    load: Load, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = {"image": {"size": (12, 10)}}
    whole = load("auto", x=IMAGES, y=Y)
    assert isinstance(whole.x, np.ndarray)
    monkeypatch.setattr(memory, "available", lambda: 4 * IMAGES.nbytes)
    assert isinstance(load("auto").x, np.ndarray)
    assert isinstance(load("auto", large).x, Streamed)
    assert isinstance(images_of(folder, "auto").x, np.ndarray)
    assert isinstance(images_of(folder, "auto", size=(12, 10)).x, Streamed)
    monkeypatch.setattr(memory, "available", lambda: 4 * IMAGES.nbytes - 4)
    same(load("auto"), whole)
    assert isinstance(load("load").x, np.ndarray)
    # A few rows of a large file are read at once, and nothing else of it.
    monkeypatch.setattr(npz, "_examples", lambda x, f=npz._examples: f(x) if len(x) < 9 else None)
    assert isinstance(load("auto", {"limit": 8}).x, np.ndarray)


def test_the_memory_that_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meminfo, limit = tmp_path / "meminfo", tmp_path / "limit"
    monkeypatch.setattr(memory, "_MEMINFO", meminfo)
    monkeypatch.setattr(memory, "_LIMITS", (tmp_path / "none", limit))
    assert memory.available() == memory.UNKNOWN
    meminfo.write_text("MemTotal:  16000 kB\nMemAvailable:   9000 kB\n")
    assert memory.available() == 9000 * 1024
    for text, found in (("max\n", 9000 * 1024), ("5000000\n", 5_000_000)):
        limit.write_text(text)
        assert memory.available() == found


def test_what_cannot_be_streamed_says_what_to_do(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "data.npz", x=IMAGES, y=Y)
    said = r"data\.npz: x takes 1080 bytes and is compressed.*numpy\.savez.*memory = 'load'"
    with pytest.raises(DataError, match=said):
        load("stream")
    assert len(load("auto").x) == 12
    monkeypatch.setattr(memory, "available", lambda: 1000)
    with pytest.raises(DataError, match=said):
        load("auto")
    assert len(load("load").x) == 12
    with pytest.raises(DataError, match=r"stored in Fortran order.*ascontiguousarray"):
        load("stream", x=np.asfortranarray(IMAGES), y=Y)


def later(path: Path) -> None:
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 10**9))


def shorter(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def replaced(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    later(other)
    other.replace(path)


@pytest.mark.parametrize("change", [later, shorter, replaced, Path.unlink])
def test_a_change_under_the_run_is_noticed(load: Load, folder: Path, change: Any) -> None:
    rows = np.array([0, 5])
    for examples, path in (
        (load("stream", x=IMAGES, y=Y), folder.parent / "data.npz"),
        (images_of(folder, "stream"), folder / "a" / "0.png"),
    ):
        assert isinstance(examples.x, Streamed)
        examples.x[rows]
        change(path)
        with pytest.raises(DataError, match=rf"{path.name}: (has changed|cannot be read|ends)"):
            examples.x[rows]


def test_fingerprints_tell_examples_apart(load: Load, folder: Path) -> None:
    first = load("stream", x=IMAGES, y=Y).fingerprint
    assert load("stream").fingerprint == first
    others = [
        load("stream", {"limit": 9}),
        load("stream", {"image": {"channels": 1}}),
        images_of(folder, "stream"),
        images_of(folder, "stream", background=[0, 0, 0]),
    ]
    assert len({first, *(other.fingerprint for other in others)}) == 1 + len(others)
    others.append(load("stream", x=IMAGES[::-1], y=Y[::-1]))
    assert len({first, *(other.fingerprint for other in others)}) == 1 + len(others)


def altered(path: Path, place: int) -> None:
    """Change a byte, and neither size nor time of change."""
    found, content = path.stat(), bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


@pytest.mark.parametrize("limit", [1 << 30, 1500])
def test_files_are_told_by_their_bytes(
    load: Load, folder: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to a limit by all of them, and beyond it by some, with the times of change."""
    monkeypatch.setattr(contents, "LIMIT", limit)
    monkeypatch.setattr(contents, "PIECE_BYTES", 700)
    image, archive = folder / "a" / "0.png", folder.parent / "data.npz"
    ways = [lambda: images_of(folder, "stream"), lambda: load("stream")]
    # So large that opening the archive does not read all of it, which would look at its checksum.
    x = np.concatenate([IMAGES] * 12)
    load("stream", x=x, y=np.tile(Y, 12))
    place = archive.read_bytes().index(x.tobytes()) + 6500
    # The last byte of a PNG changes no pixel, and is one of the file all the same.
    for again, path, at in zip(ways, (image, archive), (-1, place), strict=True):
        before = again()
        told = before.fingerprint
        assert before.x.changed() is None
        later(path)
        assert (again().fingerprint == told) == (limit > 1500)
        if limit > 1500:  # all of it is known, so a new time is no change
            before.x[np.array([0, 5])]
        altered(path, at)
        assert str(before.x.changed()) == str(path)
        assert again().fingerprint != told


def test_a_copy_elsewhere_is_the_same_data(load: Load, folder: Path, tmp_path: Path) -> None:
    load("stream", x=IMAGES, y=Y)
    shutil.copy(tmp_path / "data.npz", tmp_path / "copy.npz")
    shutil.copytree(folder, tmp_path / "copies")
    section = Data(source="npz", path=str(tmp_path / "copy.npz"), memory="stream")
    assert data.load(section, seed=0).fingerprint == load("stream").fingerprint
    there = images_of(tmp_path / "copies", "stream").fingerprint
    assert there == images_of(folder, "stream").fingerprint


def test_a_damaged_archive_is_refused_or_read_as_it_is(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    shape = load("stream", x=IMAGES, y=Y).x.shape
    whole = path.read_bytes()
    for position in range(0, len(whole), 13):
        path.write_bytes(whole[:position])
        with pytest.raises(DataError):
            load("stream")
        flipped = bytearray(whole)
        flipped[position] ^= 0x55
        path.write_bytes(flipped)
        try:
            assert load("stream").x[:].shape == shape
        except DataError:
            continue


def test_an_image_that_is_damaged_further_on_is_named_when_it_is_read(folder: Path) -> None:
    path = folder / "a" / "3.png"
    path.write_bytes(path.read_bytes()[:-40])
    x = images_of(folder, "stream").x
    x[np.array([0, 2])]
    with pytest.raises(DataError, match=r"3\.png: cannot be read as an image"):
        x[np.array([0, 1])]


def test_unreadable_images_are_left_out_of_a_stream_too(folder: Path) -> None:
    (folder / "a" / "3.png").write_bytes(b"?")
    ways = [images_of(folder, how, unreadable="skip") for how in ("stream", "load")]
    same(*ways)
    assert ways[0].skipped == ways[1].skipped == (str(folder / "a" / "3.png"),)


# The process's largest memory in KiB, before and after passes over a file of 240 MB.
FLAT = """
import json, sys
import numpy as np
from paribus import data
from paribus.data import streamed
from paribus.spec.data import Data, Transform

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if "VmHWM" in line)

before = peak()
examples = data.load(Data(source="npz", path=sys.argv[1], memory="stream"), 0)
rows = np.arange(len(examples.x))
data.fit(examples, rows, Transform(normalize="train"))
order = np.random.default_rng(0).permutation(rows)
total = sum(int(some.sum(dtype=np.int64)) for some in streamed.pieces(examples.x, order))
print(json.dumps([before, peak(), total]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_stays_flat(tmp_path: Path) -> None:
    path = tmp_path / "large.npz"
    x = np.zeros((4000, 300, 200, 1), dtype=np.uint8)  # untouched zeros take no memory
    x[::500, 0, 0, 0] = 1
    np.savez(path, x=x, y=np.arange(4000) % 2)
    del x
    before, after, total = python(FLAT, path, cwd=tmp_path)
    assert total == 8
    # Two pieces of 32 MiB at once, and the sums of squares as uint16.
    assert after - before < 120 * 1024
