"""A loss that is not finite: the step is named, or left out as if it had never been."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Run, Runner, process, refused
from experiments import Tree, changed, save_npz, small, table
from resumed import same

# Two of 60 examples are so large that a network's outputs overflow, in float32 and not in float64.
HUGE = (4, 23)


@pytest.fixture
def data(tmp_path: Path) -> Tree:
    x, y = table(60, features=4)
    x[list(HUGE)] = 3e38
    file = save_npz(tmp_path / "set.npz", x.astype(np.float32), y)
    return {"source": "npz", "path": str(file), "split": {"validation": 0.0, "test": 0.2}}


def tree(data: Tree, **changes: Any) -> Tree:
    base = small(
        data=data,
        precision="float32",
        evaluate_test=False,
        model={"architecture": "mlp", "hidden": [6]},
        finetune={
            "epochs": 3, "batch_size": 4, "keep": "last", "on_nonfinite": "skip",
            "optimizer": {"name": "adam", "learning_rate": 0.01},
        },
    )  # fmt: skip
    return changed(base, **changes)


def skipped(run: Run) -> list[int]:
    return [row["optimizer_step"] for row in run.rows(split="train") if row.get("skipped")]


def test_bad_steps_are_left_out_the_same_way_however_the_steps_are_cut(
    run: Runner, data: Tree
) -> None:
    found = run(tree(data), out="whole")
    steps = skipped(found)
    assert steps
    assert found.steps["finetune"]["skipped_steps"] == len(steps)
    numbers = [row["optimizer_step"] for row in found.rows(split="train")]
    # Each step once, in order; those that were left out have no finite loss and no say.
    assert numbers == list(range(1, 37))
    assert all(row["loss"] is not None for row in found.rows(split="train", skipped=None))
    assert all(np.isfinite(array).all() for array in found.tensors().values())
    # A checkpoint after each step: sent one by one, and gone on with in the middle.
    one = run(tree(data, checkpoints={"steps": 1}), out="one")
    same(one, found)
    run(tree(data), "--stop-after", str(steps[0]), out="legs")
    done = run.worker("run", "legs.json", "--resume", "legs", cwd=run.folder)
    assert done.code == 0, done.err
    same(Run(run.folder / "legs", done), found)


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "huggingface"])
def test_every_backend_leaves_out_the_same_steps(run: Runner, data: Tree, backend: str) -> None:
    spec = run.write(tree(data))
    done = process("run", spec, "--backend", backend, "--out", backend, cwd=run.folder)
    assert done.code == 0, done.err
    found, ours = Run(run.folder / backend, done), run(tree(data), out="torch")
    assert skipped(found) == skipped(ours)
    for name, array in ours.tensors().items():
        # float32 rounding over 36 small steps of Adam
        assert found.tensors()[name] == pytest.approx(array, abs=1e-5)


def test_a_step_that_is_left_out_changes_no_weight_and_no_slot(run: Runner, data: Tree) -> None:
    first = skipped(run(tree(data)))[0]
    states = []
    for steps in (first - 1, first):
        out = f"after{steps}"
        run(tree(data), "--stop-after", str(steps), out=out)
        states.append((run.folder / out / "checkpoints/000001/tensors.safetensors").read_bytes())
    assert states[0] == states[1]


def test_too_many_in_a_row_end_it(run: Runner, data: Tree) -> None:
    x, y = table(60, features=4)
    file = save_npz(run.folder / "all.npz", np.full_like(x, 3e38, dtype=np.float32), y)
    failed = run.attempt(tree(data, data__path=str(file), finetune__most_skipped=3))
    refused(failed.done, 1, "at optimizer step 3", "as in the 2 steps before it")
    assert skipped(failed) == [1, 2, 3]


def test_by_default_it_ends_and_the_state_before_is_kept(run: Runner, data: Tree) -> None:
    whole = run(tree(data), out="whole")
    (first, *_) = skipped(whole)
    failed = run.attempt(tree(data, finetune__on_nonfinite="stop"), out="stopped")
    refused(
        failed.done, 1, f"optimizer step {first} (epoch 1", "tensors are not finite any more",
        "go on with: paribus run",
    )  # fmt: skip
    assert failed.result["status"] == "failed"
    (checkpoint,) = (failed.folder / "checkpoints").glob("0*")
    state = (checkpoint / "state.json").read_text()
    assert f'"optimizer_steps":{first - 1},' in state
    # Gone on with as it is, it ends there again.
    done = run.worker("run", "stopped.json", "--resume", "stopped", cwd=run.folder)
    refused(done, 1, f"optimizer step {first} (epoch 1")


def test_trainings_made_together_leave_out_their_own(run: Runner, data: Tree) -> None:
    base = tree(
        changed(data, split__validation=0.2),
        steps=["optimize"],
        optimize={
            "sampler": "grid", "trials": 2,
            "search": {"finetune.optimizer.learning_rate": [0.01, 0.02]},
        },
    )  # fmt: skip
    together = run(base, out="together")
    alone = run(changed(base, batched_trainings=False), out="alone")
    assert skipped(together)
    assert sorted(skipped(together)) == sorted(skipped(alone))
