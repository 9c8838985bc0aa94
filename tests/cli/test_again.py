"""Running again: what is the same, what another order or seed changes, and what is never lost."""

from __future__ import annotations

import tomllib

import pytest
from command import Run, Runner
from experiments import FOUR, changed, small


@pytest.fixture
def torch(four: dict[str, Run]) -> Run:
    return four["torch"]


def test_the_saved_spec_runs_to_the_same_result(torch: Run, run: Runner) -> None:
    done = run.worker("run", torch.folder / "spec.toml", "--out", "again", cwd=run.folder)
    assert done.code == 0, done.err
    again = Run(run.folder / "again", done)
    assert again.result["weights_hash"] == torch.result["weights_hash"]
    assert again.rows() == torch.rows()
    assert (again.folder / "spec.toml").read_text() == (torch.folder / "spec.toml").read_text()


def test_another_seed_is_another_run(torch: Run, run: Runner) -> None:
    other = run(changed(FOUR, backend="torch", device="cpu"), "--set", "seed=4")
    assert other.result["seed"] == 4
    assert other.result["weights_hash"] != torch.result["weights_hash"]
    assert set(other.losses()).isdisjoint(torch.losses())


def test_a_repeat_in_float32_is_bit_identical(run: Runner) -> None:
    tree = changed(FOUR, backend="torch", device="cpu", precision="float32")
    first, second = run(tree, out="first"), run(tree, out="second")
    assert first.result["weights_hash"] == second.result["weights_hash"]
    assert first.rows() == second.rows()


def test_overrides_are_used_and_saved(run: Runner) -> None:
    done = run(small(), "--set", "finetune.epochs=3", "--set", "finetune.optimizer.name=adam")
    assert done.steps["finetune"]["epochs"] == 3
    spec = tomllib.loads((done.folder / "spec.toml").read_text())
    assert spec["finetune"]["epochs"] == 3
    assert spec["finetune"]["optimizer"]["name"] == "adam"


@pytest.mark.parametrize(
    ("steps", "weights"),
    [
        (["pretrain"], True),
        (["select"], False),
        (["optimize"], False),
        (["finetune"], True),
        (["pretrain", "finetune"], True),
        (["pretrain", "optimize", "select", "finetune"], True),
        (["optimize", "select", "finetune"], True),
        (["select", "optimize"], False),
        (["select", "pretrain", "optimize", "finetune"], True),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_every_sensible_order(run: Runner, steps: list[str], weights: bool) -> None:
    done = run(changed(FOUR, steps=steps, backend="torch", device="cpu"))
    assert list(done.steps) == steps
    assert (done.folder / "weights.safetensors").exists() == weights
    assert ("test" in done.result) == weights
    assert (done.folder / "pretrain.safetensors").exists() == ("pretrain" in steps)


def test_without_out_folders_are_numbered(run: Runner) -> None:
    spec = run.write(small(finetune__epochs=1))
    for _ in range(2):
        assert run.worker("run", spec, cwd=run.folder).code == 0
    assert sorted(path.name for path in (run.folder / "runs" / "small").iterdir()) == [
        "torch-1",
        "torch-2",
    ]


def test_a_run_is_never_lost_unasked(run: Runner) -> None:
    first = run(small())
    (first.folder / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    refused = run.attempt(small(seed=1))
    assert refused.done.code == 1
    assert "already holds a run" in refused.done.said
    assert "--overwrite" in refused.done.said
    assert {path.name: path.read_bytes() for path in first.folder.iterdir()} == before
    replaced = run(small(seed=1), "--overwrite")
    assert replaced.result["seed"] == 1
    assert (first.folder / "notes.txt").read_text() == "mine"


def test_what_cannot_be_run_replaces_nothing(run: Runner) -> None:
    """What is wrong with spec, backend, device or data is found before the folder is touched."""
    first = run(small())
    before = (first.folder / "result.json").read_bytes()
    for options in (
        ("--set", "finetune.epoch=3"),
        ("--set", "finetune.freeze=layer9"),
        ("--set", "finetune.weights=nowhere.safetensors"),
        ("--set", 'data={source="npz", path="nowhere.npz"}'),
        ("--backend", "torhc"),
        ("--device", "cuda:9"),
    ):
        assert run.attempt(small(), "--overwrite", *options).done.code != 0
        assert (first.folder / "result.json").read_bytes() == before


def test_a_spec_in_toml_and_yaml_is_the_same(run: Runner) -> None:
    json_run = run(small())
    lines = ["name: small", "backend: torch", "device: cpu", "precision: float64",
             "data: {classes: [0, 1, 2], limit: 90, split: {validation: 0.2, test: 0.2}}",
             "model: {architecture: mlp, hidden: [6]}",
             "finetune: {epochs: 2, optimizer: {name: sgd, learning_rate: 0.05}}"]  # fmt: skip
    path = run.folder / "spec.yaml"
    path.write_text("\n".join(lines))
    assert run.worker("run", path, "--out", "yaml", cwd=run.folder).code == 0
    found = Run(run.folder / "yaml", json_run.done).result["weights_hash"]
    assert found == json_run.result["weights_hash"]
