"""Run folders and caches that somebody else has packed: they name no code and lead nowhere."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Worker, refused
from experiments import small
from fuzzing import inputs

from paribus import weights
from paribus.errors import RunFolderError, WeightsError
from paribus.features.store import Store
from paribus.native.consent import require_consent
from paribus.result import Result
from paribus.runfolder import OURS, RunFolder, read_metrics, read_result
from paribus.runstate.records import Mark
from paribus.spec import absolute, dumps, load
from paribus.tuning.memory import Memory

MODEL = {
    "architecture": "mlp", "parameters": {"hidden": [3]}, "input_shape": [1, 8, 8], "classes": 2,
    "class_names": ["a", "b"], "stored_shape": [8, 8, 1], "value_range": 255.0,
    "interpolation": "bilinear", "background": [255, 255, 255],
    "preprocess": {"scale": [0.1], "shift": [0.5], "crop": None, "length": None},
}  # fmt: skip
RESULT = {"status": "complete", "backend": "torch", "device": "cpu", "precision": "float32",
          "numerics": "strict", "model": MODEL}  # fmt: skip
NATIVE = """
name = "theirs"
[native]
torch = "planted:build"
path = "{0}"
"""
# Imported or called, it would leave a file.
PLANTED = """
from pathlib import Path
Path({0!r}, "ran").touch()
def build():
    Path({0!r}, "ran").touch()
"""


def packed(folder: Path, **result: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "result.json").write_text(json.dumps(RESULT | result))
    (folder / "metrics.jsonl").write_text('{"loss": 1.0}\n')
    return folder


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A run folder with a spec that names a module beside it."""
    folder = packed(tmp_path / "theirs", status="stopped")
    (folder / "planted.py").write_text(PLANTED.format(str(tmp_path)))
    (folder / "spec.toml").write_text(NATIVE.format(folder))
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ["run", "{0}/spec.toml", "--resume", "{0}"],
        ["run", "{0}/spec.toml"],
        ["verify", "{0}/spec.toml", "--backends", "torch,tensorflow"],
        ["compare", "{0}/spec.toml", "--backends", "torch,tensorflow"],
    ],
    ids=["resume", "run", "verify", "compare"],
)
def test_a_run_folder_runs_no_code_unless_told(
    command: list[str], theirs: Path, tmp_path: Path, worker: Worker
) -> None:
    done = worker(*(word.format(theirs) for word in command), cwd=tmp_path)
    refused(done, 2, "planted:build", str(theirs), "--trust-native")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "runs").exists()


def test_looking_at_a_run_folder_runs_no_code(theirs: Path, tmp_path: Path, worker: Worker) -> None:
    native = {**MODEL, "architecture": "native", "parameters": {"torch": "planted:build"}}
    (theirs / "result.json").write_text(json.dumps(RESULT | {"model": native}))
    picture = tmp_path / "x.png"
    picture.touch()
    for command in (
        ["predict", theirs, picture],
        ["export", theirs, tmp_path / "exported", "--to", "torch"],
        ["check", theirs / "spec.toml"],
    ):
        done = worker(*command, cwd=tmp_path)
        assert "Traceback" not in done.said
        assert "internal error" not in done.said
        assert not (tmp_path / "ran").exists()


def test_a_spec_of_ones_own_and_consent_go_on(theirs: Path, tmp_path: Path) -> None:
    require_consent(load(theirs / "spec.toml"), theirs / "spec.toml", given=True)
    own = tmp_path / "mine.toml"
    own.write_text(NATIVE.format(theirs))
    require_consent(load(own), own, given=False)
    plain = load(small())
    require_consent(plain, theirs / "spec.toml", given=False)


LINKED = [*OURS, *(f"{name}.partial" for name in OURS), "checkpoints", "checkpoints/models",
          "checkpoints/000001.partial"]  # fmt: skip


BEGUN: dict[str, Callable[[Path], object]] = {
    "create": lambda folder: RunFolder.create(folder, overwrite=True),
    "reopen": lambda folder: RunFolder.reopen(folder, Mark(size=0, sha256="0" * 64)),
}


@pytest.mark.parametrize("name", LINKED)
@pytest.mark.parametrize("begin", BEGUN.values(), ids=BEGUN)
def test_nothing_is_written_through_a_link(
    begin: Callable[[Path], object], name: str, tmp_path: Path
) -> None:
    """Neither where a run begins in a folder, nor where it goes on in one."""
    folder, outside = tmp_path / "run", tmp_path / "outside"
    outside.mkdir()
    precious = outside / "precious"
    precious.write_text("precious")
    (folder / name).parent.mkdir(parents=True)
    (folder / name).symlink_to(outside if name.startswith("checkpoints") else precious)
    with pytest.raises(RunFolderError, match="is a link to"):
        begin(folder)
    assert precious.read_text() == "precious"
    assert [path.name for path in outside.iterdir()] == ["precious"]


def test_nothing_is_read_through_a_link(tmp_path: Path) -> None:
    folder = packed(tmp_path / "run")
    outside = tmp_path / "outside"
    weights.save(outside, {"a": np.ones(2)}, {})
    (folder / "weights.safetensors").symlink_to(outside)
    with pytest.raises(WeightsError, match="leads out of the folder"):
        weights.load(folder)
    for name, read in (("result.json", read_result), ("metrics.jsonl", read_metrics)):
        outside.write_bytes((folder / name).read_bytes())
        (folder / name).unlink()
        (folder / name).symlink_to(outside)
        with pytest.raises(RunFolderError, match="leads out of the folder"):
            read(folder)
        (folder / name).unlink()
        os.mkfifo(folder / name)  # Opened, it would be waited for.
        with pytest.raises(RunFolderError, match="is not a file"):
            read(folder)


DAMAGED: dict[str, Callable[[dict[str, Any]], object]] = {
    "no backend": lambda r: r.pop("backend"),
    "a backend that is a list": lambda r: r.update(backend=["torch"]),
    "numerics": lambda r: r.update(numerics="__import__"),
    "no preprocess": lambda r: r["model"].pop("preprocess"),
    "a network of nothing": lambda r: r["model"].update(parameters={"hidden": ["x"]}),
    "an architecture": lambda r: r["model"].update(architecture="os.system"),
    "axes": lambda r: r["model"].update(input_shape=[2] * 40),
    "an axis": lambda r: r["model"].update(input_shape=[1, -8, 8]),
    "pictures of terabytes": lambda r: r["model"].update(stored_shape=[10**6, 10**6, 3]),
    "a value range of nothing": lambda r: r["model"].update(value_range=0.0),
    "names": lambda r: r["model"].update(class_names=[1, 2]),
    "more scales than channels": lambda r: r["model"]["preprocess"].update(scale=[0.1] * 5),
    "a crop beyond the picture": lambda r: r["model"]["preprocess"].update(crop=[50, 50]),
    "inputs of another size": lambda r: r["model"].update(stored_shape=[9, 9, 1]),
    "a crop": lambda r: r["model"]["preprocess"].update(crop=[1]),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_result_is_refused_by_its_key(
    damage: Callable[[dict[str, Any]], object], tmp_path: Path, worker: Worker
) -> None:
    result = json.loads(json.dumps(RESULT))
    damage(result)
    folder = packed(tmp_path / "run")
    (folder / "result.json").write_text(json.dumps(result))
    (tmp_path / "x.png").write_bytes(b"")
    done = worker("predict", folder, tmp_path / "x.png", cwd=tmp_path)
    refused(done, 1, "result.json")


def test_a_complete_run_that_says_nonsense_is_refused(tmp_path: Path, worker: Worker) -> None:
    tree = small()
    (tmp_path / "spec.json").write_text(json.dumps(tree))
    folder = packed(tmp_path / "run", name="small", seconds="long", steps=[["finetune", {}]])
    (folder / "spec.toml").write_text(dumps(absolute(load(tree))))
    done = worker("run", "spec.json", "--resume", folder, cwd=tmp_path)
    assert done.code == 1
    assert "result.json is not as a run writes it" in done.said
    assert "internal error" not in done.said


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a": NaN}', '{"a": 1, "a": 2}', "[]", "\xff"])
def test_what_is_no_result_is_refused(content: str, tmp_path: Path) -> None:
    folder = packed(tmp_path / "run")
    (folder / "result.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(RunFolderError, match=r"result\.json"):
        Result(folder)
    (folder / "metrics.jsonl").write_text("[" * 100_000 + "\n")
    with pytest.raises(RunFolderError, match=r"metrics\.jsonl"):
        read_metrics(folder)


ENTRY = "e" * 64


@pytest.mark.parametrize("name", ["entry.json", "features.bin"])
def test_a_cache_is_not_read_through_links_and_pipes(name: str, tmp_path: Path) -> None:
    inputs.features(tmp_path)
    folder = tmp_path / "one" / ENTRY
    store = Store(tmp_path / "one", 1 << 20)
    assert store.find(ENTRY) is not None
    (folder / name).rename(tmp_path / "outside")
    (folder / name).symlink_to(tmp_path / "outside")
    assert store.find(ENTRY) is None
    assert (tmp_path / "outside").exists()
    inputs.features(tmp_path)
    (folder / name).unlink()
    os.mkfifo(folder / name)  # Opened, it would be waited for.
    assert store.find(ENTRY) is None


def test_a_choice_is_not_read_through_links_and_pipes(tmp_path: Path) -> None:
    inputs.choices(tmp_path)
    memory, file = Memory(tmp_path / "one"), tmp_path / "one" / "tuning" / "key.json"
    assert memory.recall("key", inputs.SUBJECT, inputs.AXES)[0] is not None
    file.rename(tmp_path / "outside")
    file.symlink_to(tmp_path / "outside")
    assert "no plain file" in memory.recall("key", inputs.SUBJECT, inputs.AXES)[1]
    file.unlink()
    os.mkfifo(file)
    assert "no plain file" in memory.recall("key", inputs.SUBJECT, inputs.AXES)[1]


@pytest.mark.parametrize(
    "change",
    [{"shape": [1e400]}, {"shape": [2**60, 2]}, {"shape": [1] * 70}, {"shape": [True, 6]},
     {"shape": "66"}, {"dtype": "O"}, {"dtype": ["<f4"]}, {"same": []}],
    ids=str,
)  # fmt: skip
def test_a_hostile_entry_of_the_cache_is_removed(change: dict[str, Any], tmp_path: Path) -> None:
    told = {"format": 1, "shape": [6], "dtype": "<f4", "about": {}, "sha256": "", "same": {}}
    (tmp_path / ENTRY).mkdir()
    (tmp_path / ENTRY / "entry.json").write_text(json.dumps(told | change))
    (tmp_path / ENTRY / "features.bin").write_bytes(bytes(24))
    said: list[str] = []
    store = Store(tmp_path, 1 << 20, said.append)
    assert store.find(ENTRY) is None
    assert "are damaged" in said[0]
    assert store.entries() == []
