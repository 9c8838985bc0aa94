"""The suite as its users meet it: a small adapter passes, a broken one fails where it is broken."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import suite_runs
from suite_runs import FILE, ended

from paribus.optimizers import RULES
from paribus.testing import checks
from paribus.testing.networks import NETWORKS
from paribus.testing.scenes import Scene, scenes

Checks = dict[str, dict[str, Any]]

KNOWN = """

@pytest.fixture(scope="session")
def known_failures():
    return {table}
"""
# Broken on purpose, so the published sizes, and what no defect touches, are left out.
FEW = "not (resnet18 or vgg or mobilenet or vit or bert or gpt2 or imports_no_framework)"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checks, str]:
    """What became of an adapter in NumPy that claims four operations, and what pytest said."""
    folder = tmp_path_factory.mktemp("plain")
    suite_runs.install(folder, "plain", {"plain": "backend"})
    found, done = suite_runs.run(folder, {"plain": FILE.format(backend="plain")})
    return found["plain"], done.stdout


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Checks]:
    """What became of four broken adapters, in one process, for PyTorch is imported there once."""
    folder = tmp_path_factory.mktemp("broken")
    names = ("biased", "moving", "padding", "clips")
    suite_runs.install(folder, "broken", {name: name for name in names})
    files = {name: FILE.format(backend=name) for name in names}
    found, done = suite_runs.run(folder, files, "--conformance-in-process", "-k", FEW)
    assert set(found) == set(names), done.stdout
    return found


def _scenes(*phases: str, **wanted: Any) -> set[str]:
    """Return the checks of small scenes in these phases; ``wanted`` by group and network."""
    found = set()
    for scene in scenes().values():
        small = re.search("resnet18|vgg|mobilenet|vit|bert|gpt2", scene.name) is None
        if small and all(getattr(scene, key) in values for key, values in wanted.items()):
            group, _, case = scene.name.partition("/")
            found |= {f"{group}.{phase}[{case}]" for phase in phases if phase in scene.phases}
    return found


def _normalised(scene: Scene) -> bool:
    return any(node.op == "batch_norm" for node in scene.network.nodes)


def test_every_check_has_a_name_of_its_own() -> None:
    names = checks.names()
    assert len(set(names)) == len(names) > 400
    assert all(re.fullmatch(r"[a-z_]+\.[a-z0-9_]+(\[[a-z0-9_-]+\])?", name) for name in names)
    assert {"architectures.outputs[cnn]", "state.goes_on", "precision.first_loss[float32-vit]",
            "rules.weights[rmsprop]"} <= set(names)  # fmt: skip


def test_every_operation_is_checked() -> None:
    """Of those that have a definition; what a model of the user's own does is not in it."""
    from paribus.native.network import NATIVE
    from paribus.registry import get, names

    claimed = {op for name in names() for op in get(name).capabilities.operations}
    assert claimed - {NATIVE} <= {op for network in NETWORKS.values() for op in network.operations}


def test_a_small_adapter_passes_and_the_rest_is_not_claimed(plain: tuple[Checks, str]) -> None:
    found, said = plain
    assert set(found) == set(checks.names())
    assert ended(found, "failed") == set()
    assert ended(found, "skipped") == set()
    passed, excluded = ended(found, "passed"), ended(found, "not claimed")
    assert passed | excluded == set(found)
    assert _scenes("outputs", "gradients", "losses", "weights", "slots",
                   network_name=("mlp", "mlp_regression")) <= passed  # fmt: skip
    assert {"architectures.outputs[cnn]", "precision.outputs[bfloat16-mlp]",
            "activations.are_those_of_the_definitions[mlp-training]",
            "dropout.masks[float64]"} <= excluded  # fmt: skip
    assert "batch_norm" in found["architectures.outputs[cnn]"]["reason"]
    # Not as skipped: an outcome of its own.
    assert re.search(rf"\d+ passed, {len(excluded)} not claimed in", said), said


def test_a_biased_variance_fails_where_statistics_are_updated(
    broken: Mapping[str, Checks],
) -> None:
    live = [
        name
        for name, scene in scenes().items()
        if _normalised(scene) and scene.task.frozen_norms(scene.network) == frozenset()
    ]
    affected = _scenes("weights", "sums", "predictions", name=live)
    assert "architectures.weights[cnn]" in affected
    assert ended(broken["biased"], "failed") == affected | {
        "frozen.weights[cnn_block1]",
        "arithmetic.statistics_follow_each_shard",
        "precision.statistics[float32-cnn]",
        "replicas.networks[cnn]",
    }


def test_moving_statistics_fail_where_they_are_frozen(broken: Mapping[str, Checks]) -> None:
    phases = ("training_outputs", "gradients", "losses", "weights", "slots", "frozen")
    affected = _scenes(*phases, name=("frozen/cnn_body", "frozen/cnn_block1"))
    assert len(affected) == 12
    parts = {f"parts.train_as_the_whole[cnn-{freeze}]" for freeze in ("body", "block1")}
    others = parts | {"replicas.networks[cnn]"}
    assert ended(broken["moving"], "failed") == affected | others


def test_padding_that_counts_fails_where_there_is_padding(broken: Mapping[str, Checks]) -> None:
    phases = ("gradients", "losses", "weights")
    affected = _scenes(*phases, name=("padding/cnn",)) | _scenes(
        *phases, name=("dropout/mlp", "dropout/cnn")
    )
    assert ended(broken["padding"], "failed") == affected | {
        "arithmetic.padding_has_no_influence[cnn]",
        "arithmetic.padding_is_as_if_absent[cnn]",
        "arithmetic.one_value_has_no_variance",
        *(f"dropout.masks[{precision}]" for precision in ("float64", "float32", "bfloat16")),
    }


def test_another_clipping_fails_where_something_is_clipped(broken: Mapping[str, Checks]) -> None:
    clipped = ("clipping/mlp", "clipping/cnn", "clipping/unmeasured")
    affected = _scenes("losses", "norms", "weights", "slots", name=clipped)
    # Its replicas clip as they should, and are compared with its sessions.
    affected |= {f"replicas.rules[{rule}]" for rule in RULES}
    assert ended(broken["clips"], "failed") == affected


def test_known_failures_are_strict(tmp_path: Path) -> None:
    """A failure that is known passes as such; one that did not come is a failure; so is a typo."""
    source = (suite_runs.HERE / "plain.py").read_text()
    suite_runs.install(tmp_path, "plain", {"plain": "backend"})
    (tmp_path / "plain.py").write_text(source.replace("bound / (norm + 1e-6)", "bound / norm"))
    checked = ("weights[mlp]", "losses[mlp]", "norms[measured]")
    tables = {
        "known": {f"clipping.{name}": "ours has no 1e-6" for name in checked},
        "typo": {"clipping.weight[mlp]": ""},
    }
    files = {}
    for name, table in tables.items():
        entries = ", ".join(f"{key!r}: ({why!r}, AssertionError)" for key, why in table.items())
        files[name] = FILE.format(backend="plain") + KNOWN.format(table=f"{{{entries}}}")
    chosen = "clipping/mlp or (norms and measured)"
    known, done = suite_runs.run(tmp_path, {"known": files["known"]}, "-k", chosen)
    assert ended(known["plain"], "xfailed") == {"clipping.weights[mlp]", "clipping.losses[mlp]"}
    assert known["plain"]["clipping.weights[mlp]"]["reason"] == "ours has no 1e-6"
    # What is measured without clipping is right: that it is known to fail is wrong.
    unexpected = {"clipping.norms[mlp]", "clipping.slots[mlp]"}
    assert ended(known["plain"], "failed") == unexpected | {"clipping.norms[measured]"}
    assert done.returncode == 1
    _, done = suite_runs.run(tmp_path, {"typo": files["typo"]}, "-k", "clipping/mlp")
    assert "there is no check 'clipping.weight[mlp]'. Did you mean 'clipping.weights[mlp]'?" in (
        done.stdout
    )


def test_a_crash_is_a_failed_check(tmp_path: Path) -> None:
    """The process of the adapter aborts in the middle; the checks after it run in a new one."""
    source = (suite_runs.HERE / "plain.py").read_text()
    aborts = "    def evaluate(self, handle, plan):\n        import os; os.abort()\n"
    suite_runs.install(tmp_path, "plain", {"plain": "backend"})
    (tmp_path / "plain.py").write_text(
        source.replace("    def evaluate(self, handle, plan):\n", aborts)
    )
    chosen = "sums or predictions or sums_are_of or batches_change"
    found, _ = suite_runs.run(tmp_path, {"plain": FILE.format(backend="plain")}, "-k", chosen)
    failed = ended(found["plain"], "failed")
    assert {"architectures.sums[mlp]", "evaluation.sums_are_of_the_predictions"} <= failed
    assert (
        "ended with code -6 during evaluate" in found["plain"]["architectures.sums[mlp]"]["reason"]
    )
    assert "evaluation.batches_change_nothing" in ended(found["plain"], "passed")
    assert "objectives.sums[mlp_regression]" in failed


def test_a_file_without_a_backend_says_what_is_missing(tmp_path: Path) -> None:
    _, done = suite_runs.run(tmp_path, {"none": "from paribus.testing.suite import *\n"}, "-x")
    assert "needs a fixture of scope 'session' called 'backend'" in done.stdout
