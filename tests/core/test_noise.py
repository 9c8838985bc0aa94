"""Which values are dropped: a function of key, row and position, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paribus import noise

ROWS, SIZE = 96, 257


def test_any_steps_keys_are_those_of_the_whole() -> None:
    whole = noise.keys(7, "finetune", 0, 9, 3)
    assert np.array_equal(noise.keys(7, "finetune", 4, 2, 3), whole[4:6])
    assert len(np.unique(whole.reshape(-1, 2), axis=0)) == 27


@pytest.mark.parametrize("change", [(8, "finetune"), (7, "pretrain")])
def test_seed_and_stream_change_every_key(change: tuple[int, str]) -> None:
    assert not (noise.keys(7, "finetune", 0, 5, 2) == noise.keys(*change, 0, 5, 2)).all(-1).any()


@given(st.integers(0, 2**31), st.integers(0, 40), st.integers(1, 9), st.integers(1, 20))
def test_a_part_of_the_rows_is_that_part_of_the_mask(
    seed: int, start: int, count: int, size: int
) -> None:
    key = noise.keys(seed, "any", 0, 1, 1)[0, 0]
    whole = noise.kept(key, range(start + count), size, 0.4)
    assert np.array_equal(noise.kept(key, range(start, start + count), size, 0.4), whole[start:])


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 0.9])
def test_the_share_is_the_probability(probability: float) -> None:
    """Within five standard deviations of a binomial share."""
    masks = [
        noise.kept(k, range(ROWS), SIZE, probability) for k in noise.keys(0, "s", 0, 20, 1)[:, 0]
    ]
    share = 1 - np.mean(masks)
    deviation = np.sqrt(probability * (1 - probability) / np.size(masks))
    assert abs(share - noise.threshold(probability) / noise.RESOLUTION) <= 5 * deviation
    assert noise.scale(probability) == pytest.approx(1 / (1 - probability), rel=1e-4)


def test_masks_of_steps_nodes_and_neighbours_do_not_go_together() -> None:
    """Correlations of independent signs are normal with deviation 1/√n: 5.5 of 180 000 pairs."""
    drawn = noise.keys(3, "pairs", 0, 200, 3).reshape(-1, 2)
    signs = np.stack([noise.kept(key, range(ROWS), SIZE, 0.5).ravel() for key in drawn]) * 2.0 - 1
    between = (signs @ signs.T)[np.triu_indices(len(signs), 1)] / np.sqrt(signs.shape[1])
    assert np.abs(between).max() < 5.5
    assert between.std() == pytest.approx(1, abs=0.01)
    for lag in (1, 2, SIZE - 1, SIZE, SIZE + 1):
        together = (signs[:, lag:] * signs[:, :-lag]).mean() * np.sqrt(signs[:, lag:].size)
        assert abs(together) < 5


def test_the_definition_stays_what_it_is() -> None:
    """Runs are repeated after years: these bits may not change."""
    key = np.array([1234567, -7654321], dtype=np.int32)
    bits = noise.kept(key, range(2, 4), 13, 0.5)
    assert np.packbits(bits).tolist() == [222, 15, 226, 64]
