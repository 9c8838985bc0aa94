"""Stopped anywhere and gone on with on the same backend, a run ends in the same bits."""

from __future__ import annotations

import json
from pathlib import Path

import languages
import pytest
from command import Run, Runner, Worker, python
from experiments import changed, small
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from resumed import ALL, TWELVE, files_of, legs, same


@pytest.fixture(scope="module")
def module_run(tmp_path_factory: pytest.TempPathFactory, worker: Worker) -> Runner:
    return Runner(tmp_path_factory.mktemp("legs"), worker)


@pytest.fixture(scope="module")
def twelve(module_run: Runner) -> Run:
    return module_run(TWELVE, out="twelve")


@pytest.fixture(scope="module")
def whole(module_run: Runner) -> Run:
    """All four steps, with all that can end a training before its last epoch."""
    found = module_run(ALL, "--backend", "torch", out="whole")
    assert found.steps["pretrain"]["stopped_early"]
    states = [trial["state"] for trial in found.steps["optimize"]["trials"]]
    assert {"complete", "pruned"} <= set(states)
    return found


@pytest.mark.parametrize("stop", range(1, 13))
def test_stopped_at_any_step(module_run: Runner, twelve: Run, stop: int) -> None:
    """In the middle of an epoch, before its validation, and at the very end."""
    same(legs(module_run, TWELVE, [("torch", stop)], "torch", f"at{stop}"), twelve)


@settings(
    max_examples=6, deadline=None, phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(1, 30))
def test_stopped_anywhere_again_and_again(
    module_run: Runner, whole: Run, stops: list[int], cadence: int
) -> None:
    """In every step of the experiment; how often a state is kept besides changes nothing."""
    tree = changed(ALL, checkpoints={"steps": cadence})
    out = f"again-{'-'.join(map(str, stops))}-{cadence}"
    same(legs(module_run, tree, [("torch", n) for n in stops], "torch", out), whole)


def test_stopped_after_each_step(module_run: Runner, whole: Run) -> None:
    """As many legs as optimizer steps: every counter, pruner and choice is carried along."""
    steps = whole.result["optimizer_steps"]
    found = legs(module_run, ALL, [("torch", 1)] * (steps - 1), "torch", "each")
    assert len(found.result["legs"]) == steps
    same(found, whole)


def test_a_search_over_folds_with_trials_that_diverge(module_run: Runner) -> None:
    growing = {"name": "sgd", "learning_rate": 1e6, "weight_decay": 1e3}
    tree = changed(
        ALL,
        steps=["optimize"],
        backend="torch",
        precision="float32",
        optimize__folds=2,
        optimize__search={"finetune.optimizer": [{"name": "sgd"}, growing, {"name": "adam"}]},
        optimize__sampler="grid",
        finetune__clip_norm=None,
    )
    once = module_run(tree, out="grid")
    states = [trial["state"] for trial in once.steps["optimize"]["trials"]]
    assert "diverged" in states
    steps = once.result["optimizer_steps"]
    for stop in (3, steps // 2, steps - 1):
        same(legs(module_run, tree, [("torch", stop)], "torch", f"grid{stop}"), once)


def test_a_pruner_knows_the_epochs_of_a_trial_that_was_stopped_in(module_run: Runner) -> None:
    """Each trial's first epoch is a little better than the one's before, and far from its last.

    So none is pruned, unless later epochs of the second trial pass for its first one.
    """
    tree = changed(
        ALL,
        steps=["optimize"],
        backend="torch",
        optimize__epochs=6,
        optimize__search={"finetune.optimizer.learning_rate": [0.02, 0.022, 0.024]},
        optimize__sampler="grid",
    )
    once = module_run(tree, out="rates")
    assert [t["state"] for t in once.steps["optimize"]["trials"]] == ["complete"] * 3
    same(legs(module_run, tree, [("torch", 19)], "torch", "rates-legs"), once)


@pytest.mark.parametrize("name", ["masked", "pairs"])
def test_of_texts(module_run: Runner, name: str) -> None:
    """Masks are drawn anew in each epoch; batches of texts are grouped by length."""
    languages.write(module_run.folder)
    tree = languages.EXPERIMENTS[name] | {"backend": "torch"}
    if name == "masked":
        tree = changed(tree, pretrain__epochs=2)
    once = module_run(tree, out=name)
    steps = once.result["optimizer_steps"]
    stops = [("torch", steps // 3), ("torch", steps // 3)]
    same(legs(module_run, tree, stops, "torch", f"{name}-legs"), once)


def test_of_streamed_data(module_run: Runner) -> None:
    once = module_run(changed(TWELVE, data__memory="stream"), out="streamed")
    assert once.result["data"]["streamed"]
    found = legs(
        module_run, changed(TWELVE, data__memory="stream"), [("torch", 4)], "torch", "stream-legs"
    )
    same(found, once)


def test_how_often_it_is_kept_changes_nothing(module_run: Runner, twelve: Run) -> None:
    for steps in (1, 5):
        tree = changed(TWELVE, checkpoints={"steps": steps})
        same(module_run(tree, out=f"every{steps}"), twelve)


def test_going_on_elsewhere_leaves_the_run_as_it_was(module_run: Runner, twelve: Run) -> None:
    begun = module_run(TWELVE, "--stop-after", "5", out="begun")
    before = {p: p.read_bytes() for p in begun.folder.rglob("*") if p.is_file()}
    found = module_run(TWELVE, "--resume", "begun", out="copy")
    same(found, twelve)
    assert {p: p.read_bytes() for p in begun.folder.rglob("*") if p.is_file()} == before


def test_what_the_result_says_of_its_legs(module_run: Runner, twelve: Run) -> None:
    found = legs(module_run, TWELVE, [("torch", 5), ("torch", 4)], "torch", "three")
    told = found.result["legs"]
    assert [(leg["after_step"], leg["to_step"]) for leg in told] == [(0, 5), (5, 9), (9, 12)]
    for leg in told:
        assert (leg["backend"], leg["device"]) == ("torch", "cpu")
        assert "torch" in leg["versions"]
        assert leg["seconds"] > 0
    assert found.result["seconds"] == pytest.approx(sum(leg["seconds"] for leg in told))
    assert [leg["to_step"] for leg in twelve.result["legs"]] == [12]


def test_a_stopped_run_says_how_to_go_on(module_run: Runner) -> None:
    begun = module_run(TWELVE, "--stop-after", "5", out="said")
    assert begun.result["status"] == "stopped"
    assert begun.result["optimizer_steps"] == 5
    words = begun.done.out.rpartition("go on with: ")[2].split()
    assert words[0] == "paribus"
    done = module_run.worker(*words[1:], "--verbose", cwd=module_run.folder)
    assert done.code == 0, done.err
    assert "after optimizer step 5" in done.said


def test_a_run_without_a_checkpoint_begins_at_its_beginning(
    module_run: Runner, twelve: Run
) -> None:
    begun = module_run(TWELVE, "--stop-after", "5", out="lost")
    for path in sorted((begun.folder / "checkpoints").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    done = module_run.worker("run", "lost.json", "--resume", "lost", "-v", cwd=module_run.folder)
    assert "begins at its beginning" in done.said
    same(Run(begun.folder, done), twelve)


def test_a_resumed_run_is_used_as_any_other(module_run: Runner, twelve: Run) -> None:
    found = legs(module_run, TWELVE, [("torch", 5)], "torch", "used")
    program = """
import json, sys, numpy as np
from paribus import Result
x = np.random.default_rng(0).integers(0, 17, (9, 8, 8)).astype("float32")
print(json.dumps([Result(f).logits(x).tolist() for f in sys.argv[1:]]))
"""
    ours, theirs = python(program, found.folder, twelve.folder, cwd=module_run.folder)
    assert ours == theirs


def test_from_python(tmp_path: Path) -> None:
    program = """
import json, sys, paribus
spec = paribus.load(json.loads(sys.argv[1]))
begun = paribus.run(spec, out="run", stop_after=2)
status = begun.metrics["status"]
done = paribus.run(spec, resume="run")
again = paribus.run(spec, resume="run")
once = paribus.run(spec, out="once")
same = done.metrics["weights_hash"] == once.metrics["weights_hash"]
print(json.dumps([status, done.metrics["status"], same, again.metrics == done.metrics]))
"""
    found = python(program, json.dumps(small()), cwd=tmp_path)
    assert found == ["stopped", "complete", True, True]
    assert files_of(tmp_path / "run") == files_of(tmp_path / "once")
