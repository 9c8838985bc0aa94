"""Arrays from .npz files: what is read, and what is refused before it is read."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from paribus import data
from paribus.data.sources import archive
from paribus.errors import DataError, SpecError
from paribus.spec.data import Data

Load = Callable[..., data.Dataset]

X = np.arange(24, dtype=np.float32).reshape(6, 4)
Y = np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def write_and_load(
        changes: dict[str, Any] | None = None, objective: Any = "classification", **arrays: Any
    ) -> data.Dataset:
        path = tmp_path / "data.npz"
        np.savez(path, **arrays)
        return data.load(Data(source="npz", path=str(path), **(changes or {})), 0, objective)

    return write_and_load


def test_a_table_is_read_as_it_is(load: Load) -> None:
    table = load(x=X, y=Y)
    np.testing.assert_array_equal(table.x, X)
    assert (table.x.dtype, table.value_range, table.stored_size) == (np.float32, 1.0, None)
    assert table.class_names == ("0", "1", "2")
    assert table.input_shape(Data().transform) == (4,)


@pytest.mark.parametrize(
    ("stored", "kept"),
    [("u1", "f4"), ("i2", "f4"), ("?", "f4"), ("f2", "f4"), (">f4", "f4"), ("i8", "f8"),
     ("f8", "f8")],
)  # fmt: skip
def test_tables_become_a_float_type_that_holds_them_exactly(
    load: Load, stored: str, kept: str
) -> None:
    table = load(x=X.astype(stored), y=Y)
    assert table.x.dtype == np.dtype(kept)
    np.testing.assert_array_equal(table.x, X.astype(stored).astype("f8"))


def test_images_keep_their_bytes_and_get_a_channel_axis(load: Load) -> None:
    grey = np.arange(6 * 5 * 4, dtype=np.uint8).reshape(6, 5, 4)
    images = load(x=grey, y=Y)
    assert (images.x.shape, images.x.dtype, images.value_range) == ((6, 5, 4, 1), np.uint8, 255)
    floats = load(x=(grey / 255).astype("f4"), y=Y)
    assert (floats.x.dtype, floats.value_range) == (np.float32, 1)


def test_parts_join_and_the_test_set_is_given(load: Load) -> None:
    parts = load(
        x_train=X, y_train=Y, x_val=X[:2], y_val=Y[:2], x_test=X[3:], y_test=Y[3:],
        class_names=np.array(["a", "b", "c"]),
    )  # fmt: skip
    assert parts.class_names == ("a", "b", "c")
    np.testing.assert_array_equal(parts.x, np.concatenate([X, X[:2], X[3:]]))
    np.testing.assert_array_equal(parts.given_test, [8, 9, 10])


def test_groups_are_numbered_whatever_they_are_called(load: Load) -> None:
    names = np.array(["ann", "bob", "ann", "cy", "bob", "cy"])
    assert load({"groups": "who"}, x=X, y=Y, who=names).groups.tolist() == [0, 1, 0, 2, 1, 2]


def test_the_fingerprint_is_of_the_contents_not_of_the_byte_order(load: Load) -> None:
    assert load(x=X, y=Y).fingerprint == load(x=X.astype(">f4"), y=Y.astype("u1")).fingerprint
    assert load(x=X, y=Y).fingerprint != load(x=X.astype("f8"), y=Y).fingerprint
    assert load(x=X, y=Y).fingerprint != load(x=X, y=Y[::-1]).fingerprint


def test_colours_become_grey_by_luma_and_grey_becomes_three_equal_channels(load: Load) -> None:
    colours = np.zeros((6, 2, 2, 3), dtype=np.uint8)
    colours[..., 1] = 200
    grey = load({"image": {"channels": 1}}, x=colours, y=Y)
    assert grey.x.shape == (6, 2, 2, 1)
    assert set(grey.x.ravel()) == {117}  # 200 · 0.587, as Pillow rounds it
    assert load({"image": {"channels": 3}}, x=colours[..., :1], y=Y).x.shape == (6, 2, 2, 3)


def test_float_images_are_resized_in_single_precision(load: Load) -> None:
    ramp = np.broadcast_to(np.linspace(0, 1, 8, dtype="f4"), (6, 8, 8))
    small = load({"image": {"size": (4, 2)}}, x=ramp, y=Y)
    assert (small.x.shape, small.x.dtype) == ((6, 4, 2, 1), np.float32)
    assert (np.diff(small.x[0, 0, :, 0]) > 0.3).all()
    with pytest.raises(SpecError, match="float64 cannot be resized; store them as uint8 or"):
        load({"image": {"size": (4, 2)}}, x=ramp.astype("f8"), y=Y)


def test_channels_without_a_rule_are_refused(load: Load) -> None:
    with pytest.raises(DataError, match="images of 2 channels cannot be turned into that"):
        load({"image": {"channels": 3}}, x=np.zeros((6, 4, 4, 2), "u1"), y=Y)


@pytest.mark.parametrize("stored", ["f4", ">f8", "i8", "u1"])
@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 3)])
def test_regression_reads_numbers(load: Load, stored: str, shape: tuple[int, ...]) -> None:
    y = np.arange(np.prod(shape)).reshape(shape).astype(stored)
    table = load(objective="regression", x=X, y=y)
    assert table.y.dtype == np.float64
    np.testing.assert_array_equal(table.y, y.reshape(6, -1))
    assert table.class_names == tuple(str(i) for i in range(table.y.shape[1]))
    assert (table.outputs, table.objective) == (table.y.shape[1], "regression")
    few = load({"limit": 3}, objective="regression", x=X, y=y)
    np.testing.assert_array_equal(few.y, table.y[few.source_rows])


def test_outputs_may_have_names_and_parts(load: Load) -> None:
    table = load(
        objective="regression", x_train=X, y_train=np.ones((6, 2)), x_test=X[:2],
        y_test=np.zeros((2, 2)), output_names=np.array(["height", "weight"]),
    )  # fmt: skip
    assert table.class_names == ("height", "weight")
    assert table.given_test.tolist() == [6, 7]
    assert table.y[:, 0].tolist() == [1] * 6 + [0] * 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"y": np.array([0, 1, np.nan, 3, 4, np.inf])}, "y has NaN or infinity in rows 2, 5"),
        ({"y": np.zeros((5, 2))}, "y must hold one row of numbers, as long in all parts, for each"),
        ({"y": np.zeros((6, 2, 2))}, "one row of numbers"),
        ({"y": np.array(["a"] * 6)}, "y has dtype <U1; allowed: numbers"),
        ({"y": np.zeros(6, dtype=complex)}, "y has dtype complex128; allowed: numbers"),
        ({"y": np.zeros(6), "output_names": np.array(["a", "b"])}, "has 2 output_names, and y has"),
        ({"y": np.zeros((6, 2)), "output_names": np.array(["a", "a"])}, "output_names has a name"),
    ],
)
def test_unusable_numbers_are_refused(load: Load, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(objective="regression", x=X, **arrays)


@pytest.mark.parametrize("objective", ["masked_lm", "causal_lm"])
def test_arrays_are_no_texts(load: Load, objective: str) -> None:
    with pytest.raises(SpecError, match="has labels for its examples, no texts; allowed: class"):
        load(objective=objective, x=X, y=Y)


def test_rows_that_judge_another_step_are_left_out(load: Load, tmp_path: Path) -> None:
    load(x=X, y=Y, who=Y)
    path = str(tmp_path / "data.npz")
    left = data.load(Data(source="npz", path=path), 0, exclude=np.array([0, 4]))
    assert left.source_rows.tolist() == [1, 2, 3, 5]
    np.testing.assert_array_equal(left.x, X[[1, 2, 3, 5]])
    grouped = Data(source="npz", path=path, groups="who")
    with pytest.raises(DataError, match="no example of class '0', since 2 rows judge another"):
        data.load(grouped, 0, exclude=np.array([0]))


def nan_in(*rows: int) -> npt.NDArray[np.float32]:
    x = X.copy()
    x[list(rows), 1] = np.nan
    return x


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": nan_in(2), "y": Y}, "NaN or infinity in row 2 of 6"),
        ({"x": nan_in(0, 5), "y": Y}, "NaN or infinity in rows 0, 5 of 6"),
        ({"x": X, "y": Y[:5]}, r"x has shape \[6, 4\] and y has shape \[5\]"),
        ({"x": X, "y": Y - 1}, "label -1 in rows 0, 3 of y is out of range"),
        ({"x": X, "y": Y * 100000}, "label 100000 in rows 1, 2, 4, 5 of y"),
        ({"x": X, "y": Y + 1}, "no example of class '0'"),
        ({"x": X, "y": Y * 0}, r"1 class \(0\); classification needs at least 2"),
        ({"x": X, "y": Y + 0.5}, "labels must be whole numbers"),
        ({"x": X, "y": Y, "class_names": np.array(["a", "b"])}, "label 2 .* allowed: 0 to 1"),
        ({"x": X, "y": Y, "class_names": np.array(["a", "b", "a"])}, "a name twice"),
        ({"x": X, "y": Y, "class_names": np.arange(3)}, "expected one text per class"),
        ({"x": X[:0], "y": Y[:0]}, "there are no examples"),
        ({"x": X[:, :0], "y": Y}, "the examples are empty"),
        ({"x": X[:, 0], "y": Y}, r"shape \[6\]; allowed: \[N, features\]"),
        ({"x": X.astype("c8"), "y": Y}, "dtype complex64; allowed: numbers"),
        ({"x": np.zeros((6, 2, 2), "i4"), "y": Y}, "images must be uint8 or float"),
        ({"x": np.zeros((6, 3, 8, 9), "u1"), "y": Y}, "looks channels-first"),
        ({"x": X.astype(object), "y": Y}, "x holds Python objects .* could run code"),
        ({"x": X, "y": Y.astype(object)}, "y holds Python objects"),
        ({"x": X}, "has x but not y, the labels"),
        ({"features": X, "y": Y}, "has features, y; expected x and y, or x_train"),
        ({"x": X, "y": Y, "x_train": X, "y_train": Y}, "unclear which is meant"),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :2], "y_test": Y}, "must be alike"),
    ],
)  # fmt: skip
def test_unusable_arrays_are_refused(load: Load, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(**arrays)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"patient": np.arange(6)}, "has no array patent; it has .* Did you mean 'patient'"),
        ({"patent": np.arange(5)}, "one whole number or text for each of the 6 examples"),
        ({"patent": np.arange(6) / 2}, "one whole number or text"),
    ],
)
def test_unusable_groups_are_refused(load: Load, groups: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load({"groups": "patent"}, x=X, y=Y, **groups)


@pytest.mark.parametrize("key", [{"size": (4, 4)}, {"channels": 3}])
def test_tables_take_no_image_settings(load: Load, key: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r"data.image.*the data is a table"):
        load({"image": key}, x=X, y=Y)


def test_a_missing_file_and_another_kind_of_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "no.npz"
    section = Data(source="npz", path=str(path))
    with pytest.raises(DataError, match="there is no such file"):
        data.load(section, seed=0)
    path.write_bytes(b"not a zip archive")
    with pytest.raises(DataError, match=r"must be an .npz file"):
        data.load(section, seed=0)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_file_damaged_anywhere_is_refused_or_whole(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "data.npz"
    save(path, x=X, y=Y)
    whole = path.read_bytes()
    section = Data(source="npz", path=str(path))
    reference = data.load(section, seed=0).fingerprint
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position])
        with pytest.raises(DataError):
            data.load(section, seed=0)
        flipped = bytearray(whole)
        flipped[position] ^= 0x55
        path.write_bytes(flipped)
        try:
            found = data.load(section, seed=0).fingerprint
        except DataError:
            continue
        assert found == reference  # a flip in the archive's own remarks (dates, attributes)


def test_a_promise_that_the_file_does_not_keep_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as packed:
        for name, shape in (("x", (10**12, 10**3)), ("y", (10**12,))):
            header = io.BytesIO()
            descr = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(header, descr)
            packed.writestr(f"{name}.npy", header.getvalue())
    with pytest.raises(DataError, match=r"promises an array .* but holds 0 bytes"):
        data.load(Data(source="npz", path=str(path)), seed=0)

    np.savez_compressed(path, x=np.zeros((2000, 10), "u1"), y=np.zeros(2000, "u1"))
    monkeypatch.setattr(archive, "MAXIMUM_BYTES", 10_000)
    with pytest.raises(DataError, match="would take 20000 bytes of memory"):
        data.load(Data(source="npz", path=str(path)), seed=0)
