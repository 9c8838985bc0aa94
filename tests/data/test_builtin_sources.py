"""The digits and Fashion-MNIST, from the real package and from files made here."""

import gzip
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from paribus import data
from paribus.data.sources import digits, fashion_mnist, idx
from paribus.errors import DataError, SpecError
from paribus.spec.data import Data


def idx_bytes(array: npt.NDArray[np.uint8]) -> bytes:
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_fashion(folder: Path, train: int = 40, test: int = 20, suffix: str = ".gz") -> None:
    draw = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        images = draw.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx_bytes(array)
            path = folder / f"{part}-{kind}-ubyte{suffix}"
            path.write_bytes(gzip.compress(content) if suffix else content)


def test_digits_are_the_real_ones_in_their_own_units() -> None:
    found = data.load(Data(), seed=0)
    assert found.x.shape == (1797, 8, 8, 1)
    assert found.x.dtype == np.uint8
    assert found.x.max() == found.value_range == 16
    assert np.bincount(found.y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert found.class_names == tuple("0123456789")
    assert found.given_test is None
    assert found.input_shape(Data().transform) == (1, 8, 8)


def test_digits_are_read_as_scikit_learn_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """From its file, without its import; and by its import where the file is elsewhere."""
    read = data.load(Data(), seed=0)
    monkeypatch.setattr(digits, "find_spec", lambda name: None)
    asked = data.load(Data(), seed=0)
    np.testing.assert_array_equal(read.x, asked.x)
    np.testing.assert_array_equal(read.y, asked.y)
    assert (read.x.dtype, read.y.dtype) == (asked.x.dtype, asked.y.dtype) == (np.uint8, np.int64)
    assert read.fingerprint == asked.fingerprint


def test_classes_are_kept_and_relabelled_in_the_given_order() -> None:
    everything = data.load(Data(), seed=0)
    chosen = data.load(Data(classes=[7, 1]), seed=0)
    by_name = data.load(Data(classes=["7", "1"]), seed=0)
    assert chosen.class_names == ("7", "1")
    np.testing.assert_array_equal(chosen.x[chosen.y == 0], everything.x[everything.y == 7])
    assert len(chosen) == np.isin(everything.y, [1, 7]).sum()
    assert by_name.fingerprint == chosen.fingerprint != everything.fingerprint


def test_a_limit_is_exact_stratified_and_reproducible() -> None:
    few = data.load(Data(limit=103), seed=5)
    assert len(few) == 103
    assert set(np.bincount(few.y)) <= {10, 11}
    assert few.fingerprint == data.load(Data(limit=103), seed=5).fingerprint
    assert few.fingerprint != data.load(Data(limit=103), seed=6).fingerprint
    assert len(data.load(Data(limit=5000), seed=5)) == 1797


def test_resized_digits_stay_in_their_range_and_do_not_change_the_rows() -> None:
    plain = data.load(Data(limit=50), seed=0)
    section = Data(limit=50, image={"size": (16, 12), "channels": 3, "interpolation": "lanczos"})
    large = data.load(section, seed=0)
    assert large.x.shape == (50, 16, 12, 3)
    assert large.x.max() <= 16
    np.testing.assert_array_equal(large.y, plain.y)
    np.testing.assert_array_equal(large.x[..., 0], large.x[..., 2])


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_fashion_mnist_reads_a_folder_and_keeps_the_given_test_set(
    tmp_path: Path, suffix: str
) -> None:
    write_fashion(tmp_path, suffix=suffix)
    clothes = data.load(Data(source="fashion_mnist", path=str(tmp_path)), seed=0)
    assert clothes.x.shape == (60, 28, 28, 1)
    assert clothes.class_names[9] == "Ankle boot"
    np.testing.assert_array_equal(clothes.given_test, np.arange(40, 60))
    np.testing.assert_array_equal(clothes.y[clothes.given_test], np.arange(20) % 10)


def test_a_limit_keeps_the_share_of_the_given_test_set(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    clothes = data.load(Data(source="fashion_mnist", path=str(tmp_path), limit=30), seed=0)
    assert len(clothes) == 30
    assert len(clothes.given_test) == 10
    with pytest.raises(SpecError, match=r"data.limit = 12 .* in training and test set.*least 20"):
        data.load(Data(source="fashion_mnist", path=str(tmp_path), limit=12), seed=0)


def test_a_missing_folder_says_which_package_has_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "nowhere")
    with pytest.raises(DataError, match="apt-get install dataset-fashion-mnist"):
        data.load(Data(source="fashion_mnist"), seed=0)
    with pytest.raises(DataError, match=r"neither train-images-idx3-ubyte nor"):
        data.load(Data(source="fashion_mnist", path=str(tmp_path)), seed=0)


def test_more_images_than_labels_are_an_error(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(
        gzip.compress(idx_bytes(np.zeros(7, dtype=np.uint8)))
    )
    with pytest.raises(DataError, match=r"40 images and .* 7 labels"):
        data.load(Data(source="fashion_mnist", path=str(tmp_path)), seed=0)


def test_a_label_beyond_the_classes_is_an_error(tmp_path: Path) -> None:
    write_fashion(tmp_path)
    labels = np.full(40, 10, dtype=np.uint8)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(labels)))
    with pytest.raises(DataError, match="label 10 in row 0; allowed: 0 to 9"):
        data.load(Data(source="fashion_mnist", path=str(tmp_path)), seed=0)


@pytest.mark.parametrize("damage", ["cut", "not gzip", "bad checksum"])
def test_a_damaged_gzip_is_named(tmp_path: Path, damage: Any) -> None:
    write_fashion(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "not gzip":
        path.write_bytes(b"hello" + whole)
    else:
        path.write_bytes(whole[:-8] + bytes(8))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz"):
        data.load(Data(source="fashion_mnist", path=str(tmp_path)), seed=0)


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5)))
def test_idx_gives_back_what_was_written(array: Any) -> None:
    shape = (None,) * array.ndim
    np.testing.assert_array_equal(idx.parse(io.BytesIO(idx_bytes(array)), shape, "f"), array)


class Asked(io.BytesIO):
    """A stream that takes the room for what it is asked for, as those of files do."""

    most = 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        self.most = max(self.most, size)
        return super().read(size)


def test_no_room_is_taken_for_what_a_header_only_promises() -> None:
    file = Asked(struct.pack(">4BI", 0, 0, 8, 1, 1 << 30) + bytes(100))
    with pytest.raises(DataError, match=r"promises 1073741824 bytes, but only 100 follow"):
        idx.parse(file, (None,), "f")
    assert file.most <= idx.PIECE


def test_files_of_several_pieces_are_read_whole() -> None:
    array = np.arange(2 * idx.PIECE + 5, dtype=np.uint32).astype(np.uint8)
    np.testing.assert_array_equal(idx.parse(io.BytesIO(idx_bytes(array)), (None,), "f"), array)


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 4), st.integers(1, 4))),
    st.data(),
)
def test_idx_of_any_other_length_is_refused(array: Any, choice: st.DataObject) -> None:
    content = idx_bytes(array)
    cut = choice.draw(st.integers(0, len(content) - 1))
    for damaged in (content[:cut], content + b"\0"):
        with pytest.raises(DataError, match=r"f: "):
            idx.parse(io.BytesIO(damaged), (None, None), "f")


@given(st.binary(max_size=40))
def test_idx_of_random_bytes_is_refused_or_exact(content: bytes) -> None:
    try:
        array = idx.parse(io.BytesIO(content), (None,), "f")
    except DataError:
        return
    assert idx_bytes(array) == content


def test_idx_takes_no_memory_for_what_is_only_promised() -> None:
    promise = struct.pack(">4B3I", 0, 0, 8, 3, 2**31, 2**31, 28)
    with pytest.raises(DataError, match=r"promises .* bytes; allowed"):
        idx.parse(io.BytesIO(promise), (None, None, None), "f")
    with pytest.raises(DataError, match="expected any×28×28"):
        idx.parse(io.BytesIO(promise), (None, 28, 28), "f")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["0", "elf"]}, "there is no class 'elf'; allowed: '0', '1'"),
        ({"classes": [0, 10]}, "there is no class 10; allowed: 0 to 9"),
        ({"limit": 9}, "data.limit = 9 is too small .* 10 classes; allowed: at least 10"),
    ],
)
def test_impossible_choices_name_what_is_allowed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        data.load(Data(**changes), seed=0)
