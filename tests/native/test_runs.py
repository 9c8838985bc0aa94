"""Whole runs of models of one's own, what they refuse, and that no artifact brings code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Runner, Worker, process, refused
from own_models import KERAS, SPEC, TORCH, changed, write
from resumed import legs, same
from safetensors.numpy import load_file

import paribus
from paribus.errors import SpecError
from paribus.spec import dumps, load


def test_the_folder_of_the_spec_and_not_the_current_one_holds_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, names="names.json")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    section = load(path).native
    assert section is not None
    assert (section.path, section.names) == (str(tmp_path), str(tmp_path / "names.json"))
    # A resolved spec means the same from anywhere.
    saved = elsewhere / "spec.toml"
    saved.write_text(dumps(load(path)))
    assert load(saved) == load(path)
    with pytest.raises(SpecError, match="a spec that is no file has no folder"):
        load(SPEC)
    assert load({**SPEC, "native": {**SPEC["native"], "path": str(tmp_path)}}).native == (
        section.model_copy(update={"names": None})
    )


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": "cnn"}, r"\[native\] and model exclude each other"),
    ({"native": {"path": "."}}, "name a function for a backend"),
    ({"native": {"torch": "mymodels"}}, "torch = 'mymodels': allowed: package.module:function"),
    ({"native": {"torch": "os:system('x')"}}, "allowed: package.module:function"),
    ({"finetune": {"freeze": "body"}}, "models of your own have no stages"),
    ({"finetune": {"weights": "checkpoint"}}, "a spec with .native. has no checkpoint"),
    ({"data": {"source": "csv", "path": "x.csv"}}, "read images or tables, not texts"),
    (
        {"select": {"candidates": [{"name": "a"}, {"name": "b", "model": "mlp"}]}},
        r"\[native\] and model exclude each other",
    ),
]


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_what_needs_an_architecture_is_refused(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({**SPEC, **change}))
    with pytest.raises(SpecError, match=words):
        load(path)


def test_one_backend_runs_its_model_twice_alike_and_keeps_its_own_names(
    run: Runner, tmp_path: Path
) -> None:
    # Its dropout draws from a stream of its own.
    torch = changed(TORCH, "        return self.head(torch.tanh(self.fc2(x)))",
                    "        x = nn.functional.dropout(x, 0.5, self.training)\n"
                    "        return self.head(torch.tanh(self.fc2(x)))")  # fmt: skip
    write(tmp_path, torch=torch)
    spec = json.loads((tmp_path / "port.json").read_text())
    first, second = (run(spec, "--backend", "torch", out=out) for out in ("one", "two"))
    assert first.losses() == second.losses()
    tensors = first.tensors()
    assert {"conv1.weight", "bn1.running_var", "head.bias"} <= set(tensors)
    assert first.result["test"]["examples"] > 0
    lacking = run.attempt(spec, "--backend", "huggingface", out="three").done
    refused(lacking, 2, "no model for huggingface", "native.huggingface = 'module:function'")


DROPPING = {
    "torch": ("return self.head(torch.tanh(self.fc2(x)))",
              "x = nn.functional.dropout(torch.tanh(self.fc2(x)), 0.5, self.training)\n"
              "        return self.head(x)"),
    "tensorflow": ("return keras.Model(inputs, layers.Dense(3)(x))",
                   "return keras.Model(inputs, layers.Dense(3)(layers.Dropout(0.5, seed=1)(x)))"),
}  # fmt: skip


@pytest.mark.parametrize("backend", DROPPING)
def test_a_run_that_is_gone_on_with_drops_what_it_would_have_dropped(
    run: Runner, tmp_path: Path, backend: str
) -> None:
    own = changed(TORCH if backend == "torch" else KERAS, *DROPPING[backend])
    write(tmp_path, **{"torch" if backend == "torch" else "keras": own})
    spec = json.loads((tmp_path / "port.json").read_text())
    spec["native"] = {backend: spec["native"][backend]}
    whole = run(spec, "--backend", backend, out="whole")
    found = legs(run, spec, [(backend, 3), (backend, 2)], backend, "legs")
    assert found.losses() == whole.losses()
    same(found, whole)


def test_two_backends_are_compared_from_the_same_weights(tmp_path: Path, worker: Worker) -> None:
    path = write(tmp_path)
    asked = ("compare", path, "--backends", "torch,tensorflow", "--out", "both", "--quiet")
    said = worker(*asked, cwd=tmp_path)
    refused(said, 2, "which tensor of tensorflow's model is which of torch's is not said",
            "--propose-names", "--accept-names")  # fmt: skip
    done = worker(*asked, "--overwrite", "--accept-names", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    row = json.loads(done.out)["backends"][1]
    # float64, a few steps: rounding.
    assert row["largest_loss_difference"] < 1e-12
    assert row["test_examples_apart"] == 0
    folder = tmp_path / "both"
    ours, theirs = (load_file(folder / n / "weights.safetensors") for n in ("torch", "tensorflow"))
    assert list(ours) == list(theirs)
    for name, array in ours.items():
        np.testing.assert_allclose(theirs[name], array, rtol=1e-9, atol=1e-12)
    assert json.loads((folder / "names.json").read_text())["reference"] == "torch"


def test_names_are_proposed_and_then_believed(tmp_path: Path) -> None:
    path = write(tmp_path)
    asked = ("verify", path, "--backends", "torch,tensorflow", "--steps", "2")
    proposed = process(*asked, "--propose-names", cwd=tmp_path)
    assert proposed.code == 0, proposed.err
    (tmp_path / "names.json").write_text(proposed.out)
    proven = process(*asked, "--set", "native.names=names.json", cwd=tmp_path)
    assert proven.code == 0, proven.said
    assert "FAIL" not in proven.out


def test_no_artifact_brings_code(run: Runner, tmp_path: Path, worker: Worker) -> None:
    """What a run folder or a file of weights says is never imported."""
    write(tmp_path)
    spec = json.loads((tmp_path / "port.json").read_text())
    done = run(spec, "--backend", "torch", out="run")
    trap = tmp_path / "trap"
    (tmp_path / "evil.py").write_text(f"open({str(trap)!r}, 'w')\n\ndef build():\n    pass\n")
    result = json.loads((done.folder / "result.json").read_text())
    result["model"]["parameters"] = {"torch": "evil:build", "path": str(tmp_path)}
    result["model"]["builders"] = {"torch": {"target": "evil:build", "folder": str(tmp_path)}}
    (done.folder / "result.json").write_text(json.dumps(result))
    for command in (
        ("predict", "run", "x.png"),
        ("export", "run", "--to", "torch", "out"),
        ("export", "run", "--to", "onnx", "out"),
    ):
        refused(worker(*command, cwd=tmp_path), 2, "somebody's own code", "never names")
    assert not trap.exists()
    with pytest.raises(SpecError, match="somebody's own code"):
        paribus.Result(done.folder).native()
