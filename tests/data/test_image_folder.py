"""Folders of images, made here: what is read, and what is refused by the file's name."""

import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from paribus import data
from paribus.data.decode import decode
from paribus.data.encoded import File
from paribus.errors import DataError
from paribus.spec.data import Data


def save(path: Path, pixels: Any, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path, **options)


def pixels(seed: int, *shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def load(folder: Path, **changes: Any) -> data.Dataset:
    return data.load(Data(source="image_folder", path=str(folder), **changes), seed=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label, name in enumerate(("cat", "dog")):
        for number in range(4):
            save(tmp_path / name / f"{number}.png", pixels(10 * label + number, 6, 5, 3))
    return tmp_path


def test_rows_are_sorted_by_class_and_name_and_pixels_are_untouched(folder: Path) -> None:
    (folder / ".DS_Store").write_bytes(b"hidden")
    (folder / "cat" / ".thumbnails").mkdir()
    images = load(folder)
    assert images.class_names == ("cat", "dog")
    assert images.y.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert images.x.shape == (8, 6, 5, 3)
    np.testing.assert_array_equal(images.x[5], pixels(11, 6, 5, 3))
    assert load(folder, image={"size": (6, 5)}).fingerprint == images.fingerprint


def test_parts_give_a_test_set_and_validation_images_train(tmp_path: Path) -> None:
    for part, count in (("train", 3), ("val", 1), ("test", 2)):
        for name in ("a", "b"):
            for number in range(count):
                save(tmp_path / part / name / f"{number}.png", pixels(number, 4, 4))
    images = load(tmp_path)
    assert images.x.shape == (12, 4, 4, 1)
    np.testing.assert_array_equal(images.given_test, [8, 9, 10, 11])
    assert images.y.tolist() == [0, 0, 0, 1, 1, 1, 0, 1, 0, 0, 1, 1]
    save(tmp_path / "test" / "c" / "0.png", pixels(0, 4, 4))
    with pytest.raises(DataError, match="there is no class 'c'"):
        load(tmp_path)


def test_resizing_is_pillows_and_the_same_for_files_and_arrays(
    folder: Path, tmp_path: Path
) -> None:
    image = {"size": (9, 3), "interpolation": "bicubic"}
    from_files = load(folder, image=image)
    np.savez(tmp_path / "same.npz", x=load(folder).x, y=load(folder).y)
    section = Data(source="npz", path=str(tmp_path / "same.npz"), image=image)
    np.testing.assert_array_equal(from_files.x, data.load(section, seed=0).x)
    reference = Image.fromarray(pixels(0, 6, 5, 3)).resize((3, 9), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(from_files.x[0], np.asarray(reference))


def test_one_channel_is_pillows_grey_for_files_and_arrays(folder: Path, tmp_path: Path) -> None:
    from_files = load(folder, image={"channels": 1})
    np.savez(tmp_path / "same.npz", x=load(folder).x, y=load(folder).y)
    section = Data(source="npz", path=str(tmp_path / "same.npz"), image={"channels": 1})
    np.testing.assert_array_equal(from_files.x, data.load(section, seed=0).x)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_mode_becomes_grey_or_rgb(folder: Path, mode: str, channels: int) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.full((6, 5), 257 * 90, dtype=np.uint16))
    else:
        grey = Image.new("L", (5, 6), 90)
        image = grey.convert(mode) if mode == "P" else grey.convert("RGB").convert(mode)
    path = folder / "cat" / ("x.jpg" if mode == "CMYK" else "x.png")
    image.save(path)
    row = load(folder, image={"channels": channels}).x[4]
    assert row.shape == (6, 5, channels)
    if mode not in ("1", "CMYK"):
        assert set(row.ravel()) == {90}


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a", "b"):
        lying = np.zeros((8, 16, 3), dtype=np.uint8)
        lying[:, :8] = 255
        save(tmp_path / name / "0.jpg", lying, exif=exif, quality=95)
    images = load(tmp_path)
    assert images.x.shape[1:] == (16, 8, 3)
    assert images.x[0, :6].min() > 200
    assert images.x[0, 10:].max() < 50


def test_a_limit_decodes_only_what_is_used(folder: Path) -> None:
    few = load(folder, limit=2)
    used = {np.flatnonzero((load(folder).x == image).all((1, 2, 3)))[0] for image in few.x}
    for row in set(range(8)) - used:
        (folder / ("cat", "dog")[row // 4] / f"{row % 4}.png").write_bytes(b"damaged")
    assert load(folder, limit=2).fingerprint == few.fingerprint


def png_header(width: int, height: int) -> bytes:
    content = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    for chunk, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")):
        content += struct.pack(">I", len(body)) + chunk + body
        content += struct.pack(">I", zlib.crc32(chunk + body))
    return content


def test_no_room_is_taken_for_what_a_png_only_promises(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    save(path, pixels(0, 6, 5, 3))
    whole = path.read_bytes()
    at = whole.index(b"IDAT") - 4
    path.write_bytes(whole[:at] + struct.pack(">I", 0x7FFFFFFF) + whole[at + 4 :])
    with File(path) as file:
        assert file.read(0x7FFFFFFF) == path.read_bytes()
        assert file.read() == b""
        file.seek(3)
        assert file.read(2) + file.read(-1) == path.read_bytes()[3:]
    tracemalloc.start()
    # Pillow takes what there is, as of any file that ends early.
    decode(path, 3, None, Image.Resampling.BILINEAR, (0, 0, 0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 24


def truncate(folder: Path) -> None:
    path = folder / "dog" / "2.png"
    path.write_bytes(path.read_bytes()[:-40])


def truncate_jpeg(folder: Path) -> None:
    path = folder / "dog" / "x.jpg"
    save(path, pixels(0, 6, 5, 3))
    path.write_bytes(path.read_bytes()[:-40])


def animate(folder: Path) -> None:
    frames = [Image.fromarray(pixels(i, 6, 5, 3)) for i in range(2)]
    frames[0].save(folder / "cat" / "x.png", save_all=True, append_images=frames[1:])


def test_a_photograph_with_appended_pictures_is_its_first_picture(folder: Path) -> None:
    frames = [Image.fromarray(pixels(i, 6, 5, 3)) for i in range(2)]
    path = folder / "cat" / "x.jpg"
    frames[0].save(path, format="MPO", save_all=True, append_images=frames[1:])
    assert Image.open(path).n_frames == 2
    np.testing.assert_array_equal(load(folder).x[4], np.asarray(Image.open(path)))


def disguise(folder: Path) -> None:
    Image.fromarray(pixels(0, 6, 5, 3)).save(folder / "cat" / "x.png", format="TIFF")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, r"2\.png: cannot be read as an image"),
        (truncate_jpeg, r"x\.jpg: cannot be read as an image"),
        (lambda f: (f / "cat" / "1.png").write_bytes(b""), r"1\.png: cannot be read as an image"),
        (disguise, r"x\.png: cannot be read as an image .* allowed formats: PNG"),
        (animate, r"x\.png: is an animation"),
        (lambda f: (f / "cat" / "notes.txt").write_text("?"), r"notes\.txt: not an image"),
        (lambda f: (f / "notes.txt").write_text("?"), r"notes\.txt: expected folders here"),
        (lambda f: (f / "elk").mkdir(), "elk: a class folder without images"),
        (lambda f: (f / "cat" / "young").mkdir(),
         "young: a folder within a class folder.* train, val, test"),
        (lambda f: save(f / "dog" / "x.png", pixels(0, 6, 6, 3)),
         r"x\.png is 6×6, but .*0\.png is 6×5 .*set data.image.size"),
        (lambda f: (f / "cat" / "x.png").write_bytes(png_header(9000, 9999)),
         r"x\.png: 9000×9999 is 89991000 pixels; allowed: up to"),
        (lambda f: (f / "cat" / "x.png").write_bytes(png_header(2**30, 2**30)),
         r"x\.png: cannot be read as an image \(DecompressionBombError"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_unusable_files_are_refused_by_name(folder: Path, damage: Any, message: str) -> None:
    damage(folder)
    with pytest.raises(DataError, match=message):
        load(folder)


def test_links_are_followed_inside_of_the_folder_only(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (folder / "cat" / "x.png").symlink_to(folder / "dog" / "0.png")
    assert len(load(folder)) == 9
    outside = tmp_path_factory.mktemp("outside") / "secret.png"
    save(outside, pixels(0, 6, 5, 3))
    (folder / "cat" / "y.png").symlink_to(outside)
    with pytest.raises(DataError, match=r"y\.png: a symbolic link that leads out of"):
        load(folder)
    (folder / "cat" / "y.png").unlink()
    (folder / "elk").symlink_to(outside.parent)
    with pytest.raises(DataError, match="elk: a symbolic link that leads out of"):
        load(folder)


def test_folders_without_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is empty; expected one folder of images per class"):
        load(tmp_path)
    with pytest.raises(DataError, match="there is no such folder"):
        load(tmp_path / "nowhere")
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="train: has no class folders"):
        load(tmp_path)
    save(tmp_path / "train" / "only" / "0.png", pixels(0, 4, 4))
    with pytest.raises(DataError, match=r"1 class \(only\); classification needs at least 2"):
        load(tmp_path)
