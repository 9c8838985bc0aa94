"""The same command again goes on with the run that it left; nobody has to ask for it."""

from __future__ import annotations

import json
from pathlib import Path

from command import Run, Runner, python, refused
from experiments import changed, small
from resumed import TWELVE, same

from paribus.commands.run import with_newest


def again(run: Runner, *options: str, tree: dict[str, object] = TWELVE) -> Run:
    spec = run.write(tree, "again.json")
    return Run(run.folder / "out", run.worker("run", spec, *options, cwd=run.folder))


def test_the_same_command_goes_on(run: Runner) -> None:
    once = run(TWELVE, out="once")
    run(TWELVE, "--stop-after", "3")
    second = run(TWELVE, "--stop-after", "4")
    assert "going on with out after optimizer step 3; --overwrite begins anew" in second.done.err
    found = run(TWELVE)
    assert [leg["to_step"] for leg in found.result["legs"]] == [3, 7, 12]
    same(found, once)
    refused(run.attempt(TWELVE).done, 1, "already holds a run")  # it is complete
    fresh = run(TWELVE, "--overwrite", "--stop-after", "3")
    assert len(fresh.result["legs"]) == 1


def test_not_with_another_spec_or_backend(run: Runner) -> None:
    run(TWELVE, "--stop-after", "3")
    refused(run.attempt(changed(TWELVE, seed=9)).done, 2, "seed = 9, was 0", "--overwrite")
    # Nobody said that the run may change its backend.
    refused(run.attempt(TWELVE, "--backend", "jax").done, 1, "unfinished run on torch")


def test_the_newest_of_this_spec(run: Runner) -> None:
    refused(again(run, "--resume").done, 1, "has no unfinished run of this spec")
    for tree in (TWELVE, TWELVE, changed(TWELVE, seed=9)):
        assert again(run, "--stop-after", "3", tree=tree).done.code == 0
    done = again(run, "--resume", "-q").done
    assert done.code == 0, done.err
    status = {
        path.parent.name: json.loads(path.read_text())["status"]
        for path in (run.folder / "runs" / "small").glob("*/result.json")
    }
    assert status == {"torch-1": "stopped", "torch-2": "complete", "torch-3": "stopped"}


def test_what_a_run_leaves_that_was_killed_before_its_first_step(run: Runner) -> None:
    """Such a folder may be used; one with somebody's own spec may not."""
    for name in ("out", "own"):
        (run.folder / name).mkdir()
        (run.folder / name / "spec.toml").write_text("# mine")
    (run.folder / "out" / "metrics.jsonl").touch()
    (run.folder / "out" / "result.json.partial").write_text("{")
    assert run(small()).result["status"] == "complete"
    refused(run.attempt(small(), out="own").done, 1, "already holds a run (spec.toml)")
    assert (run.folder / "own" / "spec.toml").read_text() == "# mine"


def test_a_row_that_was_being_written_is_not_read(tmp_path: Path) -> None:
    from paribus.runfolder import read_metrics

    (tmp_path / "metrics.jsonl").write_bytes(b'{"loss": 1.0, "name": "\xe2\x80\xa8"}\n{"loss": 0.')
    assert [row["loss"] for row in read_metrics(tmp_path)] == [1.0]


def test_a_resume_without_a_run_may_stand_anywhere() -> None:
    for given, meant in (
        (["run", "s", "--resume"], ["run", "s", "--resume", "newest"]),
        (["run", "s", "--resume", "-q"], ["run", "s", "--resume", "newest", "-q"]),
        (["run", "s", "--resume", "r"], ["run", "s", "--resume", "r"]),
    ):
        assert with_newest(given) == meant


def test_from_python(tmp_path: Path) -> None:
    program = """
import json, sys, warnings, paribus
warnings.simplefilter("ignore")
spec = paribus.load(json.loads(sys.argv[1]))
paribus.run(spec, stop_after=2)
newest = paribus.run(spec, resume=True)
paribus.run(spec, out="out", stop_after=2)
try:
    paribus.run(spec, out="out", resume=False)
except paribus.ParibusError as error:
    refused = "already holds a run" in str(error)
unasked = paribus.run(spec, out="out")
print(json.dumps([refused, *(len(one.metrics["legs"]) for one in (newest, unasked))]))
"""
    assert python(program, json.dumps(small()), cwd=tmp_path) == [True, 2, 2]
