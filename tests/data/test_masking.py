"""Masked language modelling: what is predicted, what is read instead, and from which draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paribus.data.dataset import Tokens
from paribus.data.masking import targets
from paribus.errors import SpecError

PAD, UNK, CLS, SEP, MASK = SPECIAL = (0, 3, 4, 9, 10)
TOKENS = Tokens("{}", 50, MASK, SPECIAL, (32,))


def texts(n: int, length: int, seed: int = 0) -> np.ndarray:
    """Return rows [CLS] … [SEP] of differing length, some with unknown words."""
    generator = np.random.default_rng(seed)
    rows = generator.integers(11, 50, (n, length), dtype=np.int32)
    rows[generator.random((n, length)) < 0.1] = UNK
    for row, end in zip(rows, generator.integers(0, length, n), strict=True):
        row[0], row[end] = CLS, SEP
        row[end + 1 :] = -1
    return rows


def masked(rows, **changes):
    arguments = {"seed": 1, "stream": "pretrain/mask", "epoch": 0} | changes
    positions = arguments.pop("positions", np.arange(len(rows)))
    return targets(TOKENS, rows, positions=positions, **arguments)


@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(1, 40), st.floats(0.01, 1.0))
def test_every_row_predicts_its_share_of_real_tokens(seed, n, length, probability):
    rows = texts(n, length, seed)
    found = masked(rows, probability=probability)
    most = max(1, int(probability * length + 0.5))
    assert found.tokens.shape == rows.shape
    assert found.tokens.dtype == np.int32
    assert found.positions.shape == found.labels.shape == (n, most)
    assert found.counts.dtype == found.positions.dtype == found.labels.dtype == np.int64
    for i, row in enumerate(rows):
        real = np.flatnonzero((row >= 0) & ~np.isin(row, SPECIAL))
        expected = max(1, int(probability * len(real) + 0.5))
        assert found.counts[i] == expected if len(real) else found.counts[i] == 1
        chosen = found.positions[i, : found.counts[i]]
        assert (np.diff(chosen) > 0).all()
        assert set(chosen) <= set(real) if len(real) else chosen.tolist() == [0]
        assert (found.labels[i] == row[found.positions[i]]).all()
        # Places past the count repeat one that counts, and nothing else is touched.
        assert set(found.positions[i, found.counts[i] :]) <= set(chosen)
        untouched = np.setdiff1d(np.arange(length), chosen)
        assert (found.tokens[i, untouched] == row[untouched]).all()
        if not len(real):
            assert (found.tokens[i] == row).all()


def test_eighty_ten_ten_and_the_random_ones_are_uniform() -> None:
    rows = np.full((4000, 128), 20, dtype=np.int32)
    rows[:, 0] = CLS
    found = masked(rows)
    assert (found.counts == 19).all()  # 0.15 · 127 = 19.05
    read = np.take_along_axis(found.tokens, found.positions, axis=1)
    n = read.size
    kept, hidden = (read == 20).sum(), (read == MASK).sum()
    drawn = read[(read != 20) & (read != MASK)]
    # A kept token is one of the 10 %, or a random one that happens to be itself (1 of 45).
    for count, share in ((hidden, 0.8), (kept, 0.1 + 0.1 / 45), (len(drawn), 0.1 * 44 / 45)):
        assert abs(count - n * share) < 5 * np.sqrt(n * share * (1 - share))
    assert set(drawn) == set(range(50)) - set(SPECIAL) - {20}
    counts = np.bincount(drawn, minlength=50)[np.unique(drawn)]
    assert np.abs(counts - len(drawn) / 44).max() < 5 * np.sqrt(len(drawn) / 44)
    # Each place is chosen equally often: 19 of 127 times in 4000 rows.
    places = np.bincount(found.positions.ravel(), minlength=128)
    assert places[0] == 0
    assert np.abs(places[1:] - 4000 * 19 / 127).max() < 5 * np.sqrt(4000 * 19 / 127)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12))
def test_a_row_depends_on_its_place_in_the_epoch_alone(positions) -> None:
    epoch = np.broadcast_to(texts(1, 24), (41, 24))
    whole = masked(epoch)
    some = masked(epoch[: len(positions)], positions=np.array(positions))
    for name in ("tokens", "positions", "labels", "counts"):
        assert (getattr(some, name) == getattr(whole, name)[positions]).all()


def test_seed_stream_and_epoch_each_matter() -> None:
    rows = texts(8, 64)
    first = masked(rows)
    assert (first.tokens == masked(rows).tokens).all()
    for change in ({"seed": 2}, {"stream": "other"}, {"epoch": 1}):
        assert (first.tokens != masked(rows, **change).tokens).any()


def test_the_draws_never_change_between_releases() -> None:
    rows = np.broadcast_to(np.arange(11, 31, dtype=np.int32), (2, 20))
    found = masked(rows, positions=np.array([4, 6]))
    assert found.positions.tolist() == [[0, 7, 16], [2, 8, 15]]
    read = np.take_along_axis(found.tokens, found.positions, axis=1)
    assert read.tolist() == [[27, MASK, MASK], [12, MASK, 1]]


def test_a_tokenizer_without_mask_token_is_refused() -> None:
    tokens = replace(TOKENS, mask=None)
    with pytest.raises(SpecError, match="needs a tokenizer with a mask token"):
        targets(tokens, texts(1, 8), 0, "mask", 0, np.arange(1))
