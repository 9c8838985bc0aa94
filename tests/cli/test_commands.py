"""The commands around a run: what they print, and what they leave alone."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from absent import without
from command import Worker, process
from experiments import FOUR
from labs import PROMISED

FRAMEWORKS = ("torch", "torchvision", "tensorflow", "keras", "transformers", "jax")


def test_backends_are_listed_with_versions_and_devices(tmp_path: Path) -> None:
    done = process("backends", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    found = {backend["name"]: backend for backend in json.loads(done.out)}
    assert tuple(found) == PROMISED
    for backend in found.values():
        assert backend["reason"] is None
        assert backend["versions"]
        assert backend["devices"][-1] == "cpu"


def test_without_frameworks_each_has_its_install_command(tmp_path: Path) -> None:
    environment = without(tmp_path, *FRAMEWORKS)
    done = process("backends", cwd=tmp_path, environment=environment)
    assert done.code == 0, done.err
    for name, line in zip(PROMISED, done.out.splitlines(), strict=True):
        assert line.startswith(name)
        assert "not installed" in line
        assert line.endswith(f"install: pip install 'paribus[{name}]'")


def test_a_run_without_its_framework(tmp_path: Path) -> None:
    environment = without(tmp_path, *FRAMEWORKS)
    (tmp_path / "spec.json").write_text(json.dumps(FOUR))
    named = process(
        "run", "spec.json", "--backend", "tensorflow", cwd=tmp_path, environment=environment
    )
    assert named.code == 1
    assert named.err.startswith("paribus: backend 'tensorflow' is not installed")
    assert "pip install 'paribus[tensorflow]'" in named.err
    automatic = process("run", "spec.json", cwd=tmp_path, environment=environment)
    assert automatic.code == 1
    for name in PROMISED:
        assert f"pip install 'paribus[{name}]'" in automatic.err
    assert not (tmp_path / "runs").exists()


def test_without_frameworks_the_rest_works(tmp_path: Path) -> None:
    environment = without(tmp_path, *FRAMEWORKS)
    for arguments in (["init", "mine.toml"], ["check", "mine.toml"], ["schema"], ["models"]):
        done = process(*arguments, cwd=tmp_path, environment=environment)
        assert done.code == 0, done.err


def test_models(worker: Worker, tmp_path: Path) -> None:
    rows = json.loads(worker("models", "--json", cwd=tmp_path).out)
    found = {row["architecture"]: row for row in rows}
    resnets = {f"resnet{depth}" for depth in (18, 34, 50, 101, 152)}
    assert {"mlp", "cnn"} | resnets <= set(found)
    # torchvision's published sizes
    assert found["resnet18"]["parameters"] == 11_689_512
    assert found["resnet50"]["parameters"] == 25_557_032
    assert found["resnet18"]["stages"] == ["stem", "layer1", "layer2", "layer3", "layer4", "head"]
    text = worker("models", cwd=tmp_path).out
    assert all(name in text for name in found)


def test_schema_is_json_schema(worker: Worker, tmp_path: Path) -> None:
    schema = json.loads(worker("schema", cwd=tmp_path).out)
    assert {"data", "model", "pretrain", "select", "optimize", "finetune"} <= set(
        schema["properties"]
    )


def test_init_writes_a_spec_that_is_valid_and_nothing_over_it(
    worker: Worker, tmp_path: Path
) -> None:
    done = worker("init", cwd=tmp_path)
    assert done.code == 0
    path = tmp_path / "experiment.toml"
    assert tomllib.loads(path.read_text())
    assert "# " in path.read_text()
    check = worker("check", path, cwd=tmp_path)
    assert (check.code, check.out.split(":")[1].strip()) == (0, "valid; steps")
    path.write_text("mine")
    again = worker("init", cwd=tmp_path)
    assert again.code == 2
    assert "exists and is left as it is" in again.err
    assert path.read_text() == "mine"
    assert worker("init", "no/such/folder.toml", cwd=tmp_path).code == 2


def test_check_says_what_would_run(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(FOUR))
    done = worker("check", "spec.json", "--set", 'steps=["finetune"]', cwd=tmp_path)
    assert done.out.strip() == "spec.json: valid; steps: finetune"
    assert list(tmp_path.iterdir()) == [tmp_path / "spec.json"]


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_names_every_command(worker: Worker, tmp_path: Path, arguments: list[str]) -> None:
    done = worker(*arguments, cwd=tmp_path)
    for command in ("run", "compare", "check", "init", "schema", "backends", "models"):
        assert command in done.said


def test_version(worker: Worker, tmp_path: Path) -> None:
    from importlib.metadata import version

    assert worker("--version", cwd=tmp_path).out == f"paribus {version('paribus')}\n"
