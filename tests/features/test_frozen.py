"""Runs with a frozen body: computed once, and to the bit what they are without.

The 54 training rows end in a batch of six, or of two after batches of 13: sizes for which
frameworks choose other kernels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import Run, Runner, Worker, python
from experiments import Tree, changed, small
from labs import PROMISED

CNN = {"architecture": "cnn", "channels": [3, 4]}
# Of 6×6 images: an example's numbers begin at a multiple of 64 bytes wherever it is in a batch.
EVEN = {"architecture": "cnn", "channels": [8, 8]}
VIT = {"architecture": "vit", "patch": 4, "layers": 2, "heads": 2, "hidden": 8, "mlp": 12}
ONCE = "computed once for"
ANEW = "what is frozen is computed anew in every epoch"


def frozen(freeze: str = "body", model: Tree = CNN, **changes: Any) -> Tree:
    recipe = {"freeze": freeze, "epochs": 3, "batch_size": 8, "keep": "last",
              "optimizer": {"name": "sgd", "learning_rate": 0.2, "momentum": 0.9}}  # fmt: skip
    return changed(small(model=model, finetune=recipe, data__limit=90), **changes)


class Kept:
    """Runs that keep features in a folder of their own."""

    def __init__(self, run: Runner) -> None:
        self._run, self.folder = run, run.folder / "features"
        self._number = 0

    def __call__(self, tree: Tree, *options: str, enabled: bool = True, **cache: Any) -> Run:
        self._number += 1
        section = {"directory": str(self.folder), "enabled": enabled, **cache}
        tree = changed(tree, cache=section)
        return self._run(tree, "--verbose", *options, out=f"out-{self._number}")


@pytest.fixture
def kept(run: Runner) -> Kept:
    return Kept(run)


def weights(run: Run) -> str:
    return str(run.result["weights_hash"])


@pytest.fixture(params=PROMISED)
def on_a_backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Kept]]:
    worker = Worker()
    yield request.param, Kept(Runner(tmp_path, worker))
    worker.close()


def test_weights_are_the_same_to_the_bit(on_a_backend: tuple[str, Kept]) -> None:
    """Whatever the boundary, the precision and the framework; and so is what validation says."""
    backend, kept = on_a_backend
    for tree in (
        frozen(precision="float32", finetune__batch_size=13),
        frozen("block1", precision="float64"),
        frozen("layer1", VIT, precision="float32"),
    ):
        plain = kept(tree, "--backend", backend, enabled=False)
        once = kept(tree, "--backend", backend)
        again = kept(tree, "--backend", backend)
        assert plain.done.err.count(ONCE) == 0
        assert once.done.err.count(ONCE) == 1, once.done.err
        assert again.done.err.count(ONCE) == 0
        assert weights(plain) == weights(once) == weights(again)
        assert plain.losses() == once.losses()
        assert once.rows(split="validation") == again.rows(split="validation")


def test_folds_candidates_trials_and_finetuning_share_one_body(kept: Kept) -> None:
    tree = frozen(
        steps=["select", "optimize", "finetune"],
        select={
            "folds": 3,
            "candidates": [
                {"name": "slow", "finetune": {"optimizer": {"name": "sgd", "learning_rate": 0.01}}},
                {"name": "fast", "finetune": {"batch_size": 16}},
            ],
        },
        optimize={
            "trials": 2,
            "search": {"finetune.optimizer.learning_rate": {"low": 0.1, "high": 0.3}},
        },
        # One after another: together they would be the same to rounding only.
        batched_trainings=False,
    )
    once, plain = kept(tree), kept(tree, enabled=False)
    assert once.done.err.count(ONCE) == 1
    assert weights(once) == weights(plain)
    assert once.losses() == plain.losses()
    assert len(list(kept.folder.iterdir())) == 1


def test_what_depends_on_the_fold_has_a_body_for_each(kept: Kept) -> None:
    """Normalisation that is fitted on the training rows makes other inputs of the same rows."""
    select = {"folds": 2, "candidates": [{"name": "one"}]}
    tree = frozen(steps=["select"], select=select, data__transform={"normalize": "train"})
    assert kept(changed(tree, evaluate_test=False)).done.err.count(ONCE) == 2


def test_a_run_that_stops_goes_on_to_the_same_bits(kept: Kept) -> None:
    tree = frozen()
    whole = kept(tree)
    stopped = kept(tree, "--stop-after", "11")
    assert stopped.result["status"] == "stopped"
    assert weights(kept(tree, "--resume", str(stopped.folder))) == weights(whole)
    # And where the features are gone, or are not wanted any more.
    other = kept(tree, "--resume", str(kept(tree, "--stop-after", "11").folder), enabled=False)
    assert weights(other) == weights(whole)


def test_random_crops_say_why_nothing_is_kept(kept: Kept) -> None:
    done = kept(frozen(data__transform={"crop": 6, "horizontal_flip": True}))
    assert done.done.err.count(ANEW) == 1
    assert "data.transform.augment_copies" in done.done.err
    assert ONCE not in done.done.err


def test_copies_of_random_crops_are_the_same_with_and_without(kept: Kept) -> None:
    transform = {"crop": 6, "pad": 1, "horizontal_flip": True, "vertical_flip": True}
    tree = frozen(model=EVEN, data__transform={**transform, "augment_copies": 2})
    once, plain = kept(tree), kept(tree, enabled=False)
    assert once.done.err.count(ONCE) == 1
    assert weights(once) == weights(plain)
    fewer = kept(changed(tree, data__transform__augment_copies=1))
    assert weights(fewer) != weights(once)


def test_where_a_row_s_place_in_a_batch_matters_its_steps_compute_anew(kept: Kept) -> None:
    """36 numbers of an example do not fill lines of 64 bytes, which MKL sees on some processors."""
    tree = frozen(data__transform={"crop": 6, "augment_copies": 2})
    assert weights(kept(tree)) == weights(kept(tree, enabled=False))


def test_what_does_not_fit_is_trained_without(kept: Kept) -> None:
    tree = frozen()
    done = kept(tree, limit=1e-9)
    assert done.done.err.count(f"{ANEW}: they take") == 1
    assert weights(done) == weights(kept(tree))


def test_the_command_shows_and_clears(kept: Kept, worker: Worker, tmp_path: Path) -> None:
    kept(frozen())
    options = ("--directory", str(kept.folder))
    shown = worker("cache", *options, cwd=tmp_path).said
    assert "1 entries" in shown
    assert "cnn up to flatten, 72 examples; torch, cpu, float64" in shown
    told = json.loads(worker("cache", "--json", *options, cwd=tmp_path).out)
    assert told["directory"] == str(kept.folder)
    assert 0 < told["bytes"] == told["entries"][0]["bytes"] < told["limit_bytes"]
    assert "removed 0" in worker("cache", "--prune", *options, cwd=tmp_path).said
    assert "removed 1" in worker("cache", "--prune", "--limit", "0", *options, cwd=tmp_path).said
    kept(frozen())
    assert "removed 1" in worker("cache", "--clear", *options, cwd=tmp_path).said
    assert "0 entries" in worker("cache", *options, cwd=tmp_path).said


STREAMED = """
import json, sys
import paribus
from paribus.features import opening
spec, out = sys.argv[1:]
opening.too_large = lambda size: True
result = paribus.run(paribus.load(spec), backend="torch", device="cpu", out=out)
print(json.dumps(result.metrics["steps"]["finetune"]["weights_hash"]))
"""


def test_features_larger_than_the_memory_are_read_as_needed(kept: Kept, run: Runner) -> None:
    tree = changed(frozen(), cache={"directory": str(run.folder / "large")})
    spec = run.write(tree)
    found = python(STREAMED, spec, run.folder / "streamed", cwd=run.folder)
    assert len(list((run.folder / "large").iterdir())) == 1
    assert found == kept(frozen(), enabled=False).steps["finetune"]["weights_hash"]


INTERRUPTED = """
import json, signal, sys
import paribus
from paribus.features import computing
from paribus.features.entry import Writer

spec, out = sys.argv[1:]
computing.CHUNK_BYTES = 64  # a piece of one batch
write, written = Writer.write, []

def write_and_interrupt(self, values):
    write(self, values)
    written.append(len(values))
    if len(written) == 1:
        signal.raise_signal(signal.SIGINT)

Writer.write = write_and_interrupt
try:
    paribus.run(paribus.load(spec), backend="torch", device="cpu", out=out)
    ended = "complete"
except KeyboardInterrupt:
    ended = "interrupted"
pieces = len(written)
again = paribus.run(paribus.load(spec), backend="torch", device="cpu", out=out)
print(json.dumps([ended, pieces, again.metrics["status"]]))
"""


def test_an_interruption_is_heard_between_pieces(kept: Kept, run: Runner) -> None:
    """A body may take an hour, and Ctrl-C has to wait for one piece of it."""
    tree = changed(frozen(), cache={"directory": str(run.folder / "features")})
    found = python(INTERRUPTED, run.write(tree), run.folder / "out", cwd=run.folder)
    assert found == ["interrupted", 1, "complete"]
