"""What a run refuses to go on with, and what it says; and checkpoints that are damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command import Run, Runner, refused
from experiments import Tree, changed, save_npz, small, table
from resumed import TWELVE, forged, same
from safetensors.numpy import load_file, save_file

from paribus.runstate.store import BEST, MANIFEST, STATE, TENSORS


@pytest.fixture
def begun(run: Runner) -> Run:
    """Stopped after 3 and after 5 steps: two checkpoints."""
    run(TWELVE, "--stop-after", "3", out="begun")
    done = run.worker("run", "begun.json", "--resume", "begun", "--stop-after", "2", cwd=run.folder)
    assert done.code == 0, done.err
    return Run(run.folder / "begun", done)


def attempt(run: Runner, tree: Tree, *options: str) -> Run:
    spec = run.write(tree, "again.json")
    done = run.worker("run", spec, "--resume", "begun", *options, cwd=run.folder)
    return Run(run.folder / "begun", done)


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_spec(run: Runner, begun: Run) -> None:
    before = content(begun.folder)
    for changes, words in (
        ({"finetune__epochs": 9}, ("finetune.epochs = 9, was 4",)),
        ({"precision": "float64", "seed": 1}, ("precision = 'float64', was 'float32'", "seed = 1")),
        ({"model": "mlp"}, ("model.architecture = 'mlp', was 'cnn'",)),
        ({"finetune__clip_norm": 1.0}, ("finetune.clip_norm = 1.0, was null",)),
    ):
        found = attempt(run, changed(TWELVE, **changes))
        refused(found.done, 2, "cannot go on with another spec", *words)
    assert content(begun.folder) == before


def test_what_may_change(run: Runner, begun: Run) -> None:
    tree = changed(TWELVE, checkpoints={"minutes": 0.0, "steps": 1}, device="auto")
    assert attempt(run, tree).done.code == 0
    same(Run(begun.folder, begun.done), run(TWELVE, out="once"))


def test_data_that_changed(run: Runner) -> None:
    x, y = table(40)
    file = save_npz(run.folder / "set.npz", x, y)
    tree = small(data={"source": "npz", "path": str(file)})
    run(tree, "--stop-after", "1", out="begun")
    save_npz(file, x + 1e-6, y)
    refused(attempt(run, tree).done, 2, "the data of [data] has changed", "40 examples")
    save_npz(file, x[:-3], y[:-3])
    refused(attempt(run, tree).done, 2, "40 examples", "37 now")
    # The same examples in another place are the same experiment.
    moved = save_npz(run.folder / "moved.npz", x, y)
    found = attempt(run, changed(tree, data__path=str(moved)))
    assert found.done.code == 0, found.done.err


def test_initial_weights_that_changed(run: Runner) -> None:
    """A search makes many trainings from one file; the second one sees that it has changed."""
    first = run(small(), out="first")
    source = run.folder / "body.safetensors"
    shutil.copy(first.folder / "weights.safetensors", source)
    rates = {"finetune.optimizer.learning_rate": [0.1, 0.2]}
    tree = small(steps=["optimize"], optimize={"search": rates, "sampler": "grid", "trials": 2},
                 finetune__weights=str(source))  # fmt: skip
    run(tree, "--stop-after", "5", out="begun")
    save_file({name: array + 1.0 for name, array in load_file(source).items()}, source)
    found = attempt(run, tree)
    refused(found.done, 1, "optimize 0: cannot go on", "initial weights changed", "--overwrite")


def test_a_complete_run(run: Runner) -> None:
    once = run(TWELVE, out="begun")
    before = content(once.folder)
    found = attempt(run, TWELVE)
    assert found.done.code == 0
    assert "is complete; nothing is left to do" in found.done.said
    refused(attempt(run, changed(TWELVE, seed=1)).done, 2, "another spec", "seed = 1, was 0")
    assert content(once.folder) == before


def test_no_run(run: Runner) -> None:
    refused(attempt(run, TWELVE).done, 1, "begun is not a run folder")


def test_to_go_on_and_to_empty_contradict(run: Runner, begun: Run) -> None:
    before = content(begun.folder)
    for options in (["--overwrite"], ["--overwrite", "--out", "begun"]):
        refused(attempt(run, TWELVE, *options).done, 1, "--overwrite would empty it")
    run(TWELVE, out="other")
    refused(attempt(run, TWELVE, "--out", "other").done, 1, "already holds a run")
    assert content(begun.folder) == before
    assert attempt(run, TWELVE, "--out", "other", "--overwrite").done.code == 0


@pytest.mark.parametrize("name", [MANIFEST, STATE, TENSORS, "metrics.jsonl"])
@pytest.mark.parametrize("how", ["flipped", "cut off"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    run: Runner, begun: Run, name: str, how: str
) -> None:
    """Rows of the three first steps belong to the older one; what is altered comes after them."""
    file = begun.folder / name
    if name != "metrics.jsonl":
        file = begun.folder / "checkpoints" / "000002" / name
    bytes_ = bytearray(file.read_bytes())
    bytes_[-5] ^= 1
    file.write_bytes(bytes_ if how == "flipped" else bytes_[:-5])
    found = attempt(run, TWELVE, "--verbose")
    assert found.done.code == 0, found.done.err
    assert "a checkpoint is damaged, and the one before is used" in found.done.said
    assert str(Path("begun", *file.relative_to(begun.folder).parts)) in found.done.said
    assert "after optimizer step 3" in found.done.said
    same(found, run(TWELVE, out="once"))


def test_every_checkpoint_damaged(run: Runner, begun: Run) -> None:
    for number in ("000001", "000002"):
        (begun.folder / "checkpoints" / number / STATE).write_text("{}")
    before = content(begun.folder)
    refused(attempt(run, TWELVE).done, 1, "each of its checkpoints is damaged", "000001", "000002")
    assert content(begun.folder) == before


def test_tensors_that_do_not_fit(run: Runner, begun: Run) -> None:
    """Somebody made everything fit but the shape of a tensor."""
    checkpoint = begun.folder / "checkpoints" / "000002"
    file = checkpoint / TENSORS
    tensors = dict(load_file(file))
    name = next(name for name in tensors if name.startswith("slots/"))
    save_file(tensors | {name: np.zeros((2, 3, 4), np.float32)}, file)
    forged(checkpoint)
    refused(attempt(run, TWELVE).done, 2, name, "instead of")
    save_file({n: array.astype(np.float64) for n, array in tensors.items()}, file)
    forged(checkpoint)
    refused(attempt(run, TWELVE).done, 2, "is of F64, but the run of float32")


def test_values_that_no_run_has_written(run: Runner) -> None:
    """The hashes fit, and so do all types; places and metrics are those of another training."""
    tree = changed(TWELVE, finetune__metrics=["macro_f1"])
    begun = run(tree, "--stop-after", "5", out="begun")
    checkpoint = begun.folder / "checkpoints" / "000001"
    text = (checkpoint / STATE).read_text()
    for change, words in (
        ({"epoch": 10**6}, "no place in finetune"),
        ({"start": 4}, "epoch 2, step 4 is no place"),
        ({"validations": []}, "no place in finetune"),
        ({"validations": [{"loss": 1.0, "examples": 18, "scores": {}}]}, "lacks macro_f1"),
    ):
        state = json.loads(text)
        state["training"]["place"] |= change
        forged(checkpoint, state_json=json.dumps(state).encode())
        refused(attempt(run, tree).done, 1, words)


def test_a_key_that_is_no_cadence(run: Runner) -> None:
    for section in ({"steps": 0}, {"minutes": -1}, {"every": 3}):
        spec = run.write(changed(TWELVE, checkpoints=section))
        refused(run.worker("run", spec, cwd=run.folder), 2, "checkpoints.")
    done = run.worker("run", run.write(TWELVE), "--stop-after", "0", cwd=run.folder)
    refused(done, 2, "stop-after")


def test_the_state_is_json_and_nothing_else(begun: Run) -> None:
    tree = json.loads((begun.folder / "checkpoints" / "000002" / STATE).read_text())
    assert tree["optimizer_steps"] == 5
    assert tree["training"]["place"]["epoch"] == 2
    assert tree["training"]["place"]["start"] == 2
    names = {path.name for path in (begun.folder / "checkpoints").rglob("*") if path.is_file()}
    assert names == {MANIFEST, STATE, TENSORS, BEST}
