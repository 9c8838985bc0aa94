"""Precisions, devices and tables: what is asked for is done, or refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cases
import numpy as np
import pytest
from labs import Lab

from paribus import registry
from paribus.errors import DeviceMissing, Unsupported


def _losses(lab: Lab, precision: str, numerics: str) -> cases.Array:
    network, task = cases.CNN, cases.task(cases.CNN)
    with lab.open(network, task, precision=precision, numerics=numerics) as session:
        session.import_weights(cases.tensors(network))
        handle = session.put(cases.stored(network, 24), cases.labels(network, 24))
        plan = cases.train_plan(cases.batches(12, 1, 12, 24), rates=[0.02] * 12)
        losses = session.train_steps(handle, plan).result().losses
        assert {array.dtype for array in session.export_weights().values()} == {
            np.dtype(np.float64 if precision == "float64" else np.float32)
        }
    return losses


def test_every_precision_trains_the_same_model(lab: Lab) -> None:
    """bfloat16 has 8 bits of mantissa: products are 0.4 % off, losses here a few percent."""
    exact, single, mixed, fast = (
        _losses(lab, precision, numerics)
        for precision, numerics in (
            ("float64", "strict"),
            ("float32", "strict"),
            ("bfloat16", "strict"),
            ("float32", "fast"),
        )
    )
    assert exact[-1] < 0.8 * exact[0]
    assert single == pytest.approx(exact, rel=1e-4)
    assert fast == pytest.approx(exact, rel=1e-2)
    assert mixed == pytest.approx(exact, rel=0.05)
    # Were it equal, nothing would have been computed in bfloat16.
    assert not np.allclose(mixed, exact, rtol=1e-4)


def test_an_unknown_device_is_refused(lab: Lab) -> None:
    backend = lab.backend
    assert registry.resolve_device(backend, "auto") == backend.devices()[0]
    assert registry.resolve_device(backend, "cpu") == "cpu"
    assert backend.devices()[-1] == "cpu"
    with pytest.raises(DeviceMissing, match="cpu"):
        registry.resolve_device(backend, "cuda:99")
    with pytest.raises(DeviceMissing, match="cuda:99"):
        backend.open(
            cases.MLP,
            cases.task(cases.MLP),
            device="cuda:99",
            precision="float32",
            numerics="strict",
        )


def test_what_a_backend_cannot_do_is_refused_by_name(lab: Lab) -> None:
    backend, task = lab.backend, cases.task(cases.MLP)
    registry.check(backend, cases.RESNET, cases.task(cases.RESNET), "float64", "auto")
    with pytest.raises(Unsupported, match="float8"):
        registry.check(backend, cases.MLP, task, "float8", "cpu")
    with pytest.raises(Unsupported, match="newton"):
        registry.check(backend, cases.MLP, replace(task, rule="newton"), "float32", "cpu")
    with pytest.raises(Unsupported, match="tpu"):
        registry.check(backend, cases.MLP, task, "float32", "tpu:0")


def test_tables_train(lab: Lab) -> None:
    network = cases.MLP
    session = lab.session(network, cases.task(network, "adamw"), "float32")
    session.import_weights(cases.tensors(network))
    x = cases.stored(network, 40).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0)
    handle = session.put(x, y)
    plan = cases.train_plan(
        cases.batches(80, 2, 10, 40), "adamw", rates=[0.03] * 80, preprocess=cases.scaling(network)
    )
    losses = session.train_steps(handle, plan).result().losses
    assert losses[-1] < 0.3 * losses[0]
    sums = session.evaluate(handle, cases.eval_plan(40, 16, cases.scaling(network)))
    assert sums.correct >= 33


def test_a_trained_network_is_saved_for_the_framework_s_users(lab: Lab, tmp_path: Path) -> None:
    session = lab.session(cases.CNN, cases.task(cases.CNN))
    session.import_weights(cases.tensors(cases.CNN))
    saved = session.save_native(tmp_path / "native")
    assert saved.exists()
    assert any(path.is_file() and path.stat().st_size > 500 for path in tmp_path.rglob("*"))
