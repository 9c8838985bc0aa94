"""What is dropped is what ``paribus.noise`` defines, value by value."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from paribus import noise
from paribus.adapter import Session
from paribus.architectures import build
from paribus.noise import Keys
from paribus.plan import Preprocess, TrainPlan
from paribus.testing import data, plans
from paribus.testing.bench import Bench
from paribus.testing.networks import NETWORKS

# As many outputs as rows: row r has the label −1 at output r and 0 elsewhere, so where weights are
# 0 the gradient of the head's row r holds what has become of row r's hidden values.
ROWS, WIDTH, DROPPED = 11, 37, 0.3
SHOWING = build("mlp", {"hidden": [WIDTH], "dropout": DROPPED}, (4,), ROWS, "regression")
# (output − label)² has the slope −2 · label at 0, and a row's loss is a mean over ROWS outputs.
SLOPE = ROWS * ROWS / 2
# bfloat16 has eight bits of mantissa, float32 24.
RELATIVE = {"float64": 1e-14, "float32": 1e-6, "bfloat16": 2**-8}


def _session(bench: Bench, precision: str) -> tuple[Session, object]:
    session = bench.session(SHOWING, bench.task(SHOWING, "body"), precision)
    weights = {name: np.zeros(tensor.shape) for name, tensor in SHOWING.tensors.items()}
    weights["hidden.0.bias"] = np.ones(WIDTH)
    session.import_weights(weights)
    return session, session.put(np.zeros((ROWS, 4)), -np.eye(ROWS))


def _plan(bench: Bench, indices: object, keys: Keys, counts: object = None) -> TrainPlan:
    plan = plans.train_plan(indices, bench.rule(), counts=counts, preprocess=Preprocess())
    return replace(plan, noise=keys)


@pytest.mark.parametrize("precision", ["float64", "float32", "bfloat16"])
def test_masks(bench: Bench, precision: str) -> None:
    """The defined ones to the bit, in one shard or in three with padding."""
    session, handle = _session(bench, precision)
    keys = noise.keys(11, "masks", 0, 1, 1)
    kept = noise.kept(keys[0, 0], range(ROWS), WIDTH, DROPPED)
    shards = [[[0, 1, 2, 3, 0], [4, 5, 0, 0, 0], [6, 7, 8, 9, 10]]]
    for plan in (
        _plan(bench, [[list(range(ROWS))]], keys),
        _plan(bench, shards, keys, [[4, 2, 5]]),
    ):
        _, gradients = session.gradients(handle, plan)
        seen = gradients["fc.weight"] * SLOPE
        assert np.array_equal(seen != 0, kept)
        assert seen[kept] == pytest.approx(noise.scale(DROPPED), rel=RELATIVE[precision])


def test_words_wrap(bench: Bench) -> None:
    """Keys at the ends of 32 bits, with which the counter's arithmetic overflows."""
    session, handle = _session(bench, bench.precision)
    for words in ((-1, -1), (-(2**31), 2**31 - 1), (0x61C88646, -2), (0, 0)):
        keys = np.array(words, np.int32).reshape(1, 1, 2)
        _, gradients = session.gradients(handle, _plan(bench, [[list(range(ROWS))]], keys))
        kept = noise.kept(keys[0, 0], range(ROWS), WIDTH, DROPPED)
        assert np.array_equal(gradients["fc.weight"] != 0, kept)


@pytest.mark.parametrize("network", ["dropped_mlp", "dropped_cnn", "dropped_vit", "dropped_bert"])
def test_keys_decide(bench: Bench, network: str) -> None:
    """Equal keys give the same bits, others another loss, and none the loss of nothing dropped."""
    own = NETWORKS[network]
    session = bench.session(own, bench.task(own))
    session.import_weights(data.tensors(own))
    x = data.stored(own, 16)
    handle = session.put(x, data.labels(own, 16))
    plan = plans.steps(own, plans.batches(1, 1, 8, 16), x, rule=bench.rule())
    drawn = [noise.keys(seed, "decide", 0, 1, len(own.noisy)) for seed in (1, 1, 2)]
    losses = [session.gradients(handle, replace(plan, noise=keys))[0] for keys in (*drawn, None)]
    assert losses[0] == losses[1]
    assert min(abs(a - b) for a, b in combinations(losses[1:], 2)) > 1e-4
