"""Files that are no images, or damaged or evil ones: an error by name, or left out and counted."""

from __future__ import annotations

import io
import os
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pngs import COLOUR, GREY, png, zeros

from paribus import data
from paribus.errors import DataError
from paribus.spec.data import Data
from paribus.spec.sections import Spec
from paribus.steps.examples import Examples, step_data


def load(folder: Path, unreadable: str, **changes: Any) -> data.Dataset:
    image = {"unreadable": unreadable, "size": (5, 6)}
    section = Data(source="image_folder", path=str(folder), image=image, **changes)
    return data.load(section, seed=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of four images; the pixels of image n of class c are all 10 · c + n."""
    for label, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for number in range(4):
            colour = (10 * label + number,) * 3
            Image.new("RGB", (6, 5), colour).save(tmp_path / name / f"{number}.png")
    return tmp_path


def saved(name: str, **options: Any) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, format=name, **options)
    return stream.getvalue()


def animation(name: str) -> bytes:
    frames = [Image.new("RGB", (6, 5), (90 * n, 0, 0)) for n in range(3)]
    stream = io.BytesIO()
    frames[0].save(stream, format=name, save_all=True, append_images=frames[1:])
    return stream.getvalue()


def archive() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, x=np.zeros((3, 4)))
    return stream.getvalue()


ROW = bytes(18 * 5)
BOMB = 64  # million bytes, from 64 kB
HOSTILE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "truncated JPEG": ("x.jpg", lambda: saved("JPEG")[:-300]),
    "JPEG of a header": ("x.jpg", lambda: saved("JPEG")[:30]),
    "truncated PNG": ("x.png", lambda: saved("PNG")[:-300]),
    "damaged PNG": ("x.png", lambda: saved("PNG")[:200] + b"?" * 9 + saved("PNG")[209:]),
    "truncated WebP": ("x.webp", lambda: saved("WEBP")[:-300]),
    "text": ("x.png", lambda: b"this is no image"),
    "nothing": ("x.png", lambda: b""),
    "an archive": ("x.jpg", archive),
    "a format that is not read": ("x.png", lambda: saved("TIFF")),
    "animated PNG": ("x.png", lambda: animation("PNG")),
    "animated WebP": ("x.webp", lambda: animation("WEBP")),
    "animated GIF": ("x.png", lambda: animation("GIF")),
    "float pixels": ("x.ppm", lambda: b"Pf\n6 5\n-1\n" + bytes(120)),
    "huge sides": ("x.png", lambda: png(2**30, 2**30, 8, COLOUR, ROW)),
    "many pixels": ("x.png", lambda: png(9000, 9999, 1, GREY, ROW)),
    "huge text": ("x.png", lambda: png(6, 5, 8, COLOUR, ROW, (b"zTXt", b"k\0\0" + zeros(BOMB)))),
    "huge international text": (
        "x.png",
        lambda: png(6, 5, 8, COLOUR, ROW, (b"iTXt", b"k\0\1\0\0\0" + zeros(BOMB))),
    ),
    "huge profile": ("x.png", lambda: png(6, 5, 8, COLOUR, ROW, (b"iCCP", b"k\0\0" + zeros(BOMB)))),
    "many texts": (
        "x.png",
        lambda: png(6, 5, 8, COLOUR, ROW, *[(b"zTXt", b"k\0\0" + zeros(1))] * BOMB * 2),
    ),
    "pixels without an end": (
        "x.png",
        lambda: png(6, 5, 8, COLOUR, b"", (b"IDAT", zlib.compress(b"\0")[:-4])),
    ),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("name", "content"), HOSTILE.values(), ids=HOSTILE)
def test_is_an_error_by_name_or_left_out(
    folder: Path, name: str, content: Callable[[], bytes]
) -> None:
    path = folder / "cat" / name
    path.write_bytes(content())
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=rf"cat/{name}: "):
            load(folder, "error")
        found = load(folder, "skip")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.skipped == (str(path),)
    assert found.x[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 10, 11, 12, 13]
    assert peak < BOMB * 10**6 / 2


def test_a_large_but_honest_text_beside_the_pixels_does_no_harm(folder: Path) -> None:
    text = (b"zTXt", b"k\0\0" + zlib.compress(bytes(10**5)))
    (folder / "cat" / "x.png").write_bytes(png(6, 5, 8, COLOUR, ROW, text))
    assert len(load(folder, "skip")) == len(load(folder, "error")) == 9


def test_a_stray_file_is_left_out_too_but_no_folder_and_no_pipe(folder: Path) -> None:
    (folder / "dog" / "notes.txt").write_text("the dog of the neighbours")
    assert load(folder, "skip").skipped == (str(folder / "dog" / "notes.txt"),)
    (folder / "dog" / "notes.txt").unlink()
    os.mkfifo(folder / "dog" / "x.png")
    for unreadable in ("error", "skip"):
        # Opening it would wait for ever.
        with pytest.raises(DataError, match=r"x\.png: neither a file nor a folder"):
            load(folder, unreadable)
    (folder / "dog" / "x.png").unlink()
    (folder / "dog" / "young").mkdir()
    with pytest.raises(DataError, match="a folder within a class folder"):
        load(folder, "skip")


def test_a_class_without_a_readable_image_is_an_error(folder: Path) -> None:
    for path in (folder / "cat").iterdir():
        path.write_bytes(b"?")
    with pytest.raises(DataError, match=r"cat: none of its 4 files .*first: .*0\.png: cannot be"):
        load(folder, "skip")


def test_parts_keep_their_places(folder: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    for part in ("train", "val", "test"):
        for name in ("cat", "dog"):
            (parts / part / name).mkdir(parents=True)
            for number in range(2):
                content = (folder / name / f"{number}.png").read_bytes()
                (parts / part / name / f"{number}.png").write_bytes(content)
    for damaged in ("train/cat/0.png", "val/dog/1.png", "test/cat/1.png"):
        (parts / damaged).write_bytes(b"")
    found = load(parts, "skip")
    assert found.y.tolist() == [0, 1, 1, 0, 0, 1, 0, 1, 1]
    assert found.given_test is not None
    assert found.given_test.tolist() == [6, 7, 8]
    assert found.source_rows is not None
    assert found.source_rows.tolist() == [1, 2, 3, 4, 5, 6, 8, 10, 11]
    assert [Path(name).name for name in found.skipped] == ["0.png", "1.png", "1.png"]


def test_what_judges_the_task_is_held_out_whatever_is_left_out(folder: Path) -> None:
    """Rows are told apart by their place among all files, so a file less shifts none of them."""
    (folder / "elk").mkdir()
    for number in range(4):
        Image.new("RGB", (6, 5), (20 + number,) * 3).save(folder / "elk" / f"{number}.png")
    (folder / "cat" / "0.png").write_bytes(b"")
    split = {"validation": 0.3, "test": 0.3, "seed": 3}
    source = {"source": "image_folder", "path": str(folder), "split": split}
    spec = Spec.model_validate({
        "steps": ["pretrain", "finetune"],
        "data": {**source, "image": {"unreadable": "skip"}},
        # These two classes can be read as they are.
        "pretrain": {"data": {**source, "classes": ["dog", "elk"]}},
    })  # fmt: skip
    assert spec.pretrain.data is not None
    examples = Examples(spec)
    large, task = step_data(spec, "pretrain"), step_data(spec, "finetune")
    ours, judged = examples.dataset(large), examples.dataset(task)
    parts = examples.split(task)
    judges = judged.x[np.concatenate((parts.validation, parts.test)), 0, 0, 0]
    held = ours.x[examples.held_rows(large), 0, 0, 0]
    assert sorted(held) == sorted(judges[judges >= 10])
    assert len(held) > 2
