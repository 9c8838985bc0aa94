"""Every claimed precision trains the model that float64 trains, within what its digits allow."""

from __future__ import annotations

import numpy as np
import pytest

from paribus.adapter import Numerics
from paribus.testing import data, plans
from paribus.testing.bench import Bench, golden
from paribus.testing.closeness import agree

SCENES = [f"architectures/{name}" for name in (
    "cnn", "plain", "mlp", "resnet18", "vgg11_bn", "mobilenet_v2", "vit", "wide_vit", "bert",
    "gpt2",
)]  # fmt: skip
# Float32 rounds by 6e-8 and bfloat16's products by 0.4 %, a few dozen times over.
CLOSE = {"float32": 1e-5, "bfloat16": 0.1}
# Running statistics keep 90 % of what they were; an unbiased variance that is not is 3 % or more
# of what is new.
STATISTICS = {"float32": 1e-5, "bfloat16": 0.02}


def _cases(scenes: list[str]) -> list[str]:
    return [f"{precision}-{name.partition('/')[2]}" for precision in CLOSE for name in scenes]


@pytest.mark.parametrize("case", _cases(SCENES))
def test_outputs(bench: Bench, case: str) -> None:
    """Outputs in evaluation mode."""
    precision, name = case.split("-")
    stored = golden(f"architectures/{name}")
    found = bench.found(stored, "outputs", precision, _seen(name))
    agree(found, stored.expected["outputs"], CLOSE[precision], f"outputs in {precision}")


@pytest.mark.parametrize("case", _cases(SCENES))
def test_first_loss(bench: Bench, case: str) -> None:
    """The first step's loss, before rounding could be amplified."""
    precision, name = case.split("-")
    stored = golden(f"architectures/{name}")
    found = bench.found(stored, "losses", precision, _seen(name))[""]
    assert found.dtype == np.float64
    assert found[0] == pytest.approx(stored.expected["losses"][""][0], rel=CLOSE[precision])


@pytest.mark.parametrize("case", _cases(["architectures/cnn"]))
def test_statistics(bench: Bench, case: str) -> None:
    """BatchNorm's running statistics after two steps: other precisions take other kernels."""
    precision, name = case.split("-")
    stored = golden(f"architectures/{name}")
    found = bench.found(stored, "weights", precision, _seen(name))
    names = [n for n, t in stored.scene.network.tensors.items() if t.kind == "statistic"]
    agree(
        {n: found[n] for n in names},
        {n: stored.expected["weights"][n] for n in names},
        STATISTICS[precision],
        f"statistics in {precision}",
    )


def _seen(name: str) -> tuple[str, ...]:
    return ("outputs", "losses", "weights") if name == "cnn" else ("outputs", "losses")


def _losses(bench: Bench, precision: str, numerics: Numerics) -> data.Array:
    network = bench.network
    with bench.open(network, bench.task(network), precision, numerics) as session:
        session.import_weights(data.tensors(network))
        x = data.stored(network, 24)
        handle = session.put(x, data.labels(network, 24))
        rows = plans.batches(12, 1, 12, 24)
        plan = plans.steps(network, rows, x, rule=bench.rule(), rates=[0.02] * 12)
        return session.train_steps(handle, plan).result().losses


@pytest.mark.parametrize("case", ["float32-strict", "float32-fast", "bfloat16-strict",
                                  "bfloat16-fast"])  # fmt: skip
def test_trains_alike(bench: Bench, case: str) -> None:
    """Twelve steps; ``fast`` may use products of ten bits (TF32)."""
    precision, numerics = case.split("-")
    exact = _losses(bench, bench.precision, "strict")
    losses = _losses(bench, precision, numerics)  # type: ignore[arg-type]
    assert exact[-1] < exact[0]
    close = 0.05 if precision == "bfloat16" else {"strict": 1e-4, "fast": 1e-2}[numerics]
    assert losses == pytest.approx(exact, rel=close)


def test_bfloat16_is_not_float32(bench: Bench) -> None:
    """Products of eight bits leave their trace: were the losses equal, none would be."""
    losses = _losses(bench, "bfloat16", "strict")
    assert not np.allclose(losses, _losses(bench, "float32", "strict"), rtol=1e-5)
