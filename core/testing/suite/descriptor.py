"""What is known of a backend before its framework is imported, and what it refuses by name."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from paribus import registry
from paribus.adapter import Backend
from paribus.architectures import Network, Node
from paribus.errors import DeviceMissing, ParibusError, Unsupported, WeightsError
from paribus.optimizers import RULES
from paribus.testing.bench import Bench, not_claimed
from paribus.testing.networks import NETWORKS

PRECISIONS = {"float32", "float64", "bfloat16"}
DEVICE_TYPES = {"cpu", "cuda", "mps"}

LOOK = """
import json, sys
import numpy, scipy.special
import paribus.registry
before = set(sys.modules)
backend = paribus.registry.get(sys.argv[1])
backend.available(), backend.capabilities, backend.reads, backend.title, backend.install
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


def test_imports_no_framework(bench: Bench) -> None:
    """Neither listing a backend nor asking whether it is there imports one of its packages."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", LOOK, bench.name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    imported = set(json.loads(done.stdout.splitlines()[-1]))
    own = {
        module
        for module, distributions in packages_distributions().items()
        if set(distributions) & set(bench.descriptor.packages)
    }
    assert own, f"packages are installed, but bring no module: {bench.descriptor.packages}"
    assert not imported & own


def test_says_whether_it_is_available(bench: Bench) -> None:
    """``available()`` is None here, where the framework is; elsewhere it is the reason."""
    assert bench.descriptor.available() is None


def test_describes_itself(bench: Bench) -> None:
    """Texts for people, suffixes with their dot, and claims from what there is."""
    backend = bench.descriptor
    assert isinstance(backend, Backend)
    assert backend.name == bench.name
    assert backend.title.strip()
    assert backend.install.strip()
    assert backend.packages
    assert all(suffix.startswith(".") for suffix in backend.reads)
    can = backend.capabilities
    assert can.operations
    assert can.rules <= set(RULES)
    assert can.rules
    assert can.precisions <= PRECISIONS
    assert can.precisions
    assert can.device_types <= DEVICE_TYPES
    assert can.device_types


def test_lists_devices(bench: Bench) -> None:
    """Best first, ``cpu`` last, and of the types that are claimed."""
    devices, types = bench.backend.devices(), bench.descriptor.capabilities.device_types
    assert devices
    assert {device.partition(":")[0] for device in devices} <= types
    assert "cpu" not in devices[:-1]
    assert len(set(devices)) == len(devices)
    assert registry.resolve_device(bench.backend, "auto") == devices[0]


def test_refuses_a_missing_device(bench: Bench) -> None:
    """``open`` names the device that is not on this machine, and imitates it with no other."""
    network = bench.network
    with pytest.raises(DeviceMissing, match="cuda:99"):
        bench.backend.open(
            network,
            bench.task(network),
            device="cuda:99",
            precision=bench.precision,  # type: ignore[arg-type]
            numerics="strict",
        )


def _check(bench: Bench, network: Network, rule: str, precision: str, device: str) -> None:
    task = replace(bench.task(network), rule=rule)
    registry.check(bench.descriptor, network, task, precision, device)


def test_accepts_what_it_claims(bench: Bench) -> None:
    """Nothing that is claimed is refused."""
    for rule in bench.descriptor.capabilities.rules:
        for precision in bench.descriptor.capabilities.precisions:
            _check(bench, bench.network, rule, precision, "auto")


@pytest.mark.parametrize("what", ["operation", "rule", "precision", "device_type"])
def test_refuses(bench: Bench, what: str) -> None:
    """What is not claimed is refused by its name, before the framework is imported."""
    network, rule, precision, device = bench.network, bench.rule(), bench.precision, "auto"
    if what == "operation":
        last = network.nodes[-1]
        unknown = Node("new", "holograph", (last.name,), last.stage, last.shape)
        network, word = replace(network, nodes=(*network.nodes, unknown)), "holograph"
    elif what == "rule":
        others = sorted(set(RULES) - bench.descriptor.capabilities.rules)
        rule = word = others[0] if others else "newton"
    elif what == "precision":
        others = sorted(PRECISIONS - bench.descriptor.capabilities.precisions)
        precision = word = others[0] if others else "float8"
    else:
        others = sorted(DEVICE_TYPES - bench.descriptor.capabilities.device_types)
        word = others[0] if others else "abacus"
        device = f"{word}:0"
    with pytest.raises(Unsupported, match=word):
        _check(bench, network, rule, precision, device)


def test_refuses_networks_of_unclaimed_operations(bench: Bench) -> None:
    """Every network of the suite is either claimed whole or refused by the operations it lacks."""
    claimed = bench.descriptor.capabilities.operations
    for network in NETWORKS.values():
        lacking = network.operations - claimed
        if not lacking:
            _check(bench, network, bench.rule(), bench.precision, "auto")
            continue
        with pytest.raises(Unsupported) as refused:
            _check(bench, network, bench.rule(), bench.precision, "auto")
        assert all(operation in str(refused.value) for operation in lacking)


def test_refuses_damaged_files(bench: Bench, tmp_path: Path) -> None:
    """A file of weights that is none is an error that names it, for every suffix that is read."""
    suffixes = sorted(bench.descriptor.reads)
    if not suffixes:
        not_claimed("files of weights")
    for suffix in suffixes:
        path = tmp_path / f"damaged{suffix}"
        path.write_bytes(b"this is not a file of weights" * 20)
        with pytest.raises(WeightsError, match=path.name):
            bench.backend.read_tensors(path)


def test_reads_no_files_that_it_does_not_claim(bench: Bench, tmp_path: Path) -> None:
    """An error of paribus, whatever the suffix."""
    path = tmp_path / "weights.unheard-of"
    path.write_bytes(b"?")
    with pytest.raises(ParibusError):
        bench.backend.read_tensors(path)
