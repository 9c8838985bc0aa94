"""What would fail in hour three fails in second one, and looking for it changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command import Runner, refused
from experiments import FOUR, Tree, changed
from resumed import same

from paribus.spec.sections import Range
from paribus.steps.edges import corners

Faulty = Callable[..., Runner]

ONE_PASS = changed(FOUR, device="cpu", backend="scanty", select__folds=2, optimize__trials=2)


def test_a_run_is_the_same_with_a_rehearsal_and_without(run: Runner) -> None:
    tree = changed(FOUR, device="cpu", backend="torch")
    same(run(tree, out="rehearsed"), run(tree, "--no-check", out="straight"))


def test_the_check_by_itself_leaves_nothing(run: Runner) -> None:
    spec = run.write(changed(FOUR, device="cpu", backend="torch"))
    done = run.worker("run", spec, "--check", "--out", "out", cwd=run.folder)
    assert done.code == 0, done.err
    assert "pretrain: cnn, 32 rows: done in" in done.said
    assert "pretrain for candidate 'mlp': mlp, 32 rows: done in" in done.said
    assert "more, which compute no more than these" in done.said
    assert {path.name for path in run.folder.iterdir()} == {"spec.json"}


# Each: the faults, what changes in the spec, and what is said.
PLANTED: dict[str, tuple[Tree, Tree, tuple[str, ...]]] = {
    "pretrain, an architecture": (
        {"refuses": "cnn"},
        {},
        ("pretrain: there is no kernel for it",),
    ),
    "select, a candidate": (
        {"refuses": "mlp"},
        {},
        ("candidate 'mlp': there is no kernel for it",),
    ),
    "select, a candidate's batch": (
        {"rows": 32},
        {"select__candidates": [
            {"name": "small"}, {"name": "large", "finetune": {"batch_size": 40}}
        ]},
        ("select candidate 'large'", "A batch of", "finetune.shards = 2"),
    ),
    "select, folds that are made together": (
        {"joins": "mlp"},
        {},
        ("select candidate 'mlp'", "no kernel for many"),
    ),
    "select, the features of a frozen body": (
        {"cuts": True},
        {},
        ("select candidate 'frozen'", "no kernel for a part"),
    ),
    "optimize, an edge": (
        {"rows": 32},
        {"optimize__search": {"finetune.batch_size": {"low": 16, "high": 40}}},
        ("optimize", "finetune.batch_size = 40", "finetune.shards = 2"),
    ),
    "finetune, its batch": (
        {"rows": 30},
        {"pretrain__batch_size": 30, "finetune__batch_size": 32, "select": None,
         "optimize": None, "steps": ["pretrain", "finetune"]},
        ("finetune: backend", "finetune.shards = 2"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("faults", "changes", "words"), PLANTED.values(), ids=PLANTED)
def test_a_planted_failure_of_each_step(
    faulty: Faulty, tmp_path: Path, faults: Tree, changes: Tree, words: tuple[str, ...]
) -> None:
    runner = faulty(tmp_path, **faults)
    held = tmp_path / "out"
    held.mkdir()
    (held / "metrics.jsonl").write_text("of a run before\n")
    tree = changed(ONE_PASS, **changes)
    failed = runner.attempt(tree, "--overwrite", out="out")
    refused(failed.done, 1, *words)
    # An earlier run's files are still there.
    assert (held / "metrics.jsonl").read_text() == "of a run before\n"
    spec = tmp_path / "out.json"
    checked = runner.worker("run", spec, "--check", "--out", "out", cwd=tmp_path)
    assert checked.code == 1
    assert "would fail" in checked.said
    for word in words:
        assert word in checked.said


@pytest.mark.parametrize(
    ("lacks", "words"),
    [
        ("rmsprop_momentum", ("optimize", '"rmsprop"', "update rule rmsprop_momentum")),
        ("float64", ("pretrain: ", "precision float64")),
    ],
)
def test_what_a_backend_does_not_claim(
    faulty: Faulty, tmp_path: Path, lacks: str, words: tuple[str, ...]
) -> None:
    rules = [{"name": "sgd"}, {"name": "rmsprop", "momentum": 0.9}]
    tree = changed(ONE_PASS, optimize__search={"finetune.optimizer": rules})
    failed = faulty(tmp_path, lacks=lacks).attempt(tree)
    refused(failed.done, 1, *words)
    assert not failed.folder.exists()


def test_a_folder_that_cannot_be_written(run: Runner) -> None:
    (run.folder / "file").write_text("no folder")
    spec = run.write(changed(FOUR, backend="torch", device="cpu"))
    for option in ("--check", "--verbose"):
        done = run.worker("run", spec, option, "--out", "file/run", cwd=run.folder)
        assert done.code == 1
        assert "cannot be written" in done.said


def test_the_edges_of_a_search_space() -> None:
    space: dict[str, Range | list[int]] = {"a": [1, 2, 3], "b": Range(low=4, high=6)}
    assert corners(space) == [
        {"a": 1, "b": 4},
        {"a": 3, "b": 6},
        {"a": 2, "b": 4},
        {"a": 3, "b": 4},
        {"a": 1, "b": 6},
    ]
