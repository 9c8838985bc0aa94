"""Normalisation constants and random crops and flips."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from paribus import data
from paribus.errors import SpecError
from paribus.spec.data import MeanStd, Transform


def dataset(x: Any, value_range: float = 255.0) -> data.Dataset:
    y = np.arange(len(x), dtype=np.int64) % 2
    return data.Dataset(np.asarray(x), y, ("0", "1"), value_range)


def normalised(examples: data.Dataset, transform: Transform, rows: Any = None) -> Any:
    rows = np.arange(len(examples)) if rows is None else rows
    plan = data.fit(examples, rows, transform)
    return examples.x[rows].astype(np.float64) * plan.scale - plan.shift


COLOURS = dataset(np.random.default_rng(0).integers(0, 256, (20, 6, 8, 3), dtype=np.uint8))
TABLE = dataset(np.random.default_rng(0).normal(5, 3, (20, 4)), 1.0)


def test_unit_maps_the_value_range_to_one() -> None:
    digits = dataset(np.array([0, 16], dtype=np.uint8).reshape(2, 1, 1, 1), 16.0)
    assert normalised(digits, Transform()).ravel().tolist() == [0, 1]


@pytest.mark.parametrize("examples", [COLOURS, TABLE])
def test_train_gives_mean_0_and_deviation_1_on_the_training_rows_only(
    examples: data.Dataset,
) -> None:
    rows = np.arange(0, 20, 2)
    values = normalised(examples, Transform(normalize="train"), rows).reshape(-1, examples.channels)
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-13)
    np.testing.assert_allclose(values.std(axis=0), 1, rtol=1e-13)
    whole = data.fit(examples, np.arange(20), Transform(normalize="train"))
    assert whole != data.fit(examples, rows, Transform(normalize="train"))


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 4), st.just(3), st.just(2)))
)
def test_statistics_of_bytes_are_exact(x: Any) -> None:
    plan = data.fit(dataset(x), np.arange(len(x)), Transform(normalize="train"))
    flat = x.reshape(-1, 2).astype(np.float64)
    deviation = np.where(flat.std(axis=0) > 0, flat.std(axis=0), 1)
    np.testing.assert_allclose(plan.scale, 1 / deviation, rtol=1e-14)
    np.testing.assert_allclose(plan.shift, flat.mean(axis=0) / deviation, rtol=1e-14)


@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
def test_a_constant_channel_becomes_zero(dtype: str) -> None:
    x = np.full((7, 2, 2, 1), 0.1 if dtype != "u1" else 3, dtype=dtype)
    assert not normalised(dataset(x, 1.0), Transform(normalize="train")).any()


def test_imagenet_and_explicit_constants_are_in_units_of_the_value_range() -> None:
    white = dataset(np.full((2, 1, 1, 3), 255, dtype=np.uint8))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    values = normalised(white, Transform(normalize="imagenet"))[0].ravel()
    np.testing.assert_allclose(values, (1 - mean) / std, rtol=1e-14)
    own = MeanStd(mean=mean.tolist(), std=std.tolist())
    np.testing.assert_array_equal(values, normalised(white, Transform(normalize=own))[0].ravel())


@pytest.mark.parametrize(
    ("examples", "transform", "message"),
    [
        (dataset(COLOURS.x[..., :1]), {"normalize": "imagenet"}, "the data has 1 channel"),
        (TABLE, {"normalize": "imagenet"}, "needs images of 3 channels; the data has tables"),
        (COLOURS, {"normalize": {"mean": [0.5], "std": [1]}}, "1 means .* has 3 channels"),
        (TABLE, {"normalize": {"mean": [0.5], "std": [1]}}, "1 means .* has 4 features"),
        (COLOURS, {"crop": 7}, r"crop = 7 is larger than the images, which are 6×8 .* up to 6"),
        (COLOURS, {"crop": 9, "pad": 1}, r"\(8×10 with data.transform.pad = 1\); .* up to 8"),
        (TABLE, {"crop": 2}, "transform.crop: the data is a table"),
        (TABLE, {"pad": 2}, "transform.pad: the data is a table"),
        (TABLE, {"horizontal_flip": True}, "transform.horizontal_flip: the data is a table"),
        (TABLE, {"vertical_flip": True}, "transform.vertical_flip: the data is a table"),
    ],
)
def test_transforms_that_do_not_fit_are_refused(
    examples: data.Dataset, transform: Any, message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        data.fit(examples, np.arange(20), Transform(**transform))


def test_the_input_shape_is_channels_first_after_the_crop() -> None:
    assert COLOURS.input_shape(Transform()) == (3, 6, 8)
    assert COLOURS.input_shape(Transform(crop=5)) == (3, 5, 5)
    assert COLOURS.input_shape(Transform(crop=8, pad=1)) == (3, 8, 8)
    assert data.fit(COLOURS, np.arange(20), Transform()).crop is None
    assert data.fit(COLOURS, np.arange(20), Transform(crop=5)).crop == (5, 5)
    assert data.fit(COLOURS, np.arange(20), Transform(pad=1)).crop == (6, 8)


@pytest.mark.parametrize("transform", [Transform(), Transform(crop=6)])
def test_nothing_is_drawn_when_nothing_is_random(transform: Any) -> None:
    assert data.augmentation(transform, (6, 6), 0, 0, 10) is None


def test_nothing_is_drawn_for_tables() -> None:
    assert data.augmentation(Transform(), None, 0, 0, 10) is None
    with pytest.raises(SpecError, match="the data is a table"):
        data.augmentation(Transform(pad=1), None, 0, 0, 10)


@given(st.integers(1, 9), st.integers(0, 4), st.booleans(), st.booleans(), st.integers(0, 2**40))
def test_windows_stay_inside_of_the_padded_image(
    crop: int, pad: int, horizontal: bool, vertical: bool, seed: int
) -> None:
    if crop > 6 + 2 * pad:
        crop = 6 + 2 * pad
    transform = Transform(crop=crop, pad=pad, horizontal_flip=horizontal, vertical_flip=vertical)
    drawn = data.augmentation(transform, (6, 8), seed, 3, 50)
    for start, side in ((drawn.top, 6), (drawn.left, 8)):
        assert start.dtype == np.int64
        assert start.min() >= -pad
        assert (start + crop).max() <= side + pad
    assert horizontal or not drawn.flip_horizontal.any()
    assert vertical or not drawn.flip_vertical.any()


def test_every_window_and_both_flips_are_equally_likely() -> None:
    transform = Transform(crop=6, pad=2, horizontal_flip=True, vertical_flip=True)
    drawn = data.augmentation(transform, (6, 6), 7, 0, 50_000)
    for start in (drawn.top, drawn.left):
        values, counts = np.unique(start, return_counts=True)
        assert values.tolist() == [-2, -1, 0, 1, 2]
        assert np.abs(counts / 10_000 - 1).max() < 0.05  # 5 standard deviations are 0.045
    for flips in (drawn.flip_horizontal, drawn.flip_vertical):
        assert abs(flips.mean() - 0.5) < 0.012
    arrays = [drawn.top, drawn.left, drawn.flip_horizontal, drawn.flip_vertical]
    assert np.abs(np.corrcoef(arrays) - np.eye(4)).max() < 0.023


def test_draws_depend_on_seed_epoch_and_stream_alone() -> None:
    transform = Transform(pad=2)

    def top(seed: int, epoch: int, stream: str = "train") -> list[int]:
        return data.augmentation(transform, (6, 6), seed, epoch, 100, stream).top.tolist()

    assert top(0, 0) == top(0, 0)
    assert len({tuple(t) for t in (top(0, 0), top(1, 0), top(0, 1), top(0, 0, "trial"))}) == 4


def test_importing_the_data_package_imports_no_framework_and_no_scikit_learn() -> None:
    heavy = ("sklearn", "scipy", "torch", "tensorflow", "transformers")
    code = f"import sys, paribus.data; print([m for m in {heavy!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
