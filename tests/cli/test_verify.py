"""``paribus verify`` as people call it: what it prints, what it writes, and its exit code."""

from __future__ import annotations

import json
from pathlib import Path

import planted
import pytest
import third_party
from command import Worker, process, refused
from experiments import small

import paribus
from paribus.verifying.checks import TITLES

TREE = small(finetune={"epochs": 3, "batch_size": 16, "optimizer": {"name": "adamw"}})


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(TREE))
    return path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def test_backends_that_agree(spec: Path, worker: Worker) -> None:
    options = ("--backends", "torch,huggingface", "--steps", "3", "--json", "--out", "all.json")
    done = worker("verify", spec, *options, cwd=spec.parent)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert json.loads((spec.parent / "all.json").read_text()) == found
    assert found["passed"]
    assert (found["reference"], found["precision"], found["steps"]) == ("torch", "float64", 3)
    assert [check["quantity"] for check in found["checks"]] == list(TITLES)
    assert {check["backend"] for check in found["checks"]} == {"huggingface"}
    rows = {check["quantity"]: check for check in found["checks"]}
    assert rows["statistics"]["verdict"] == "ABSTAIN"
    assert "no statistics" in rows["statistics"]["reason"]
    assert {row["verdict"] for name, row in rows.items() if name != "statistics"} == {"PASS"}
    assert rows["losses"]["value"] <= rows["losses"]["tolerance"] == 1e-9
    assert set(rows["gradients"]["details"]) == {
        "hidden.0.weight", "hidden.0.bias", "fc.weight", "fc.bias"
    }  # fmt: skip
    assert set(rows["losses"]["details"]) == {"step 1", "step 2", "step 3"}
    assert found["divergences"] == []


def test_a_mistake_is_told_and_the_exit_code_says_so(
    spec: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted.install(site)
    (site / "mistake.txt").write_text("adam epsilon")
    monkeypatch.setenv("PLANTED", str(site / "mistake.txt"))
    options = ("--backends", "torch,planted", "--steps", "2", "--out", "all.json")
    done = process("verify", spec, *options, cwd=site)
    assert done.code == 1
    assert "FAIL" in done.out
    assert "planted parts from torch in optimizer step 1, update" in done.said
    assert "it is planted that departs from the definition" in done.said
    assert "adamw's epsilon is 1e-07, not 1e-08" in done.said
    assert "Traceback" not in done.err
    found = json.loads((site / "all.json").read_text())
    (divergence,) = found["divergences"]
    assert (divergence["step"], divergence["stage"]) == (1, "update")
    assert divergence["explained"]
    assert divergence["left_unexplained"] < 1e-4


def test_what_a_backend_cannot_do_is_not_judged(
    spec: Path, site: Path, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    third_party.install(site, "echo-backend", "echo")
    done = process("verify", spec, "--backends", "torch,echo", "--steps", "1", "--json", cwd=site)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert {check["verdict"] for check in found["checks"]} == {"ABSTAIN"}
    assert "cannot honour" in found["checks"][0]["reason"]
    assert "float64" in found["checks"][0]["reason"]
    refused(
        process("verify", spec, "--backends", "echo,torch", "--quiet", cwd=site), 1, "echo",
        "cannot honour", "name another one first",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--backends", "torch"), ("at least two", "tensorflow")),
        (("--backends", "torch,torch"), ("two different",)),
        (("--backends", "torch,tensorfow"), ("tensorfow", "Did you mean 'tensorflow'?")),
        (("--backends", "torch,huggingface", "--precision", "float16"), ("float16", "float64")),
        (("--backends", "torch,huggingface", "--step", "select"), ("select", "pretrain, finetune")),
    ],
)
def test_a_wrong_command_line_is_answered(
    spec: Path, worker: Worker, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    done = worker("verify", spec, *options, "--quiet", cwd=spec.parent)
    assert done.code in (1, 2)
    refused(done, done.code, *words)


def test_from_python(spec: Path) -> None:
    found = paribus.verify(paribus.load(spec), ["torch", "huggingface"], steps=2)
    assert found.passed
    assert found.check("huggingface", "losses").verdict == "PASS"
    assert found.steps == 2
