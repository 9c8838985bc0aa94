"""Checkpoints on the disk: torn, altered or hostile ones are recognised; none is half written."""

from __future__ import annotations

import json
import os
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resumed import forged
from safetensors.numpy import save_file

from paribus.checkpoints.writing import write
from paribus.runstate.records import Finished, Identity, Leg, Mark, Outcome, State
from paribus.runstate.store import STATE, TENSORS, Damaged, Store

TENSORS_OF_A_TRAINING = {"weights/a": np.arange(6.0).reshape(2, 3), "kept/a": np.ones((2, 3))}


def state(**changes: Any) -> State:
    values: dict[str, Any] = {
        "format": 1,
        "spec": {"seed": 0},
        "data": {},
        "optimizer_steps": 5,
        "metrics": Mark(size=0, sha256=sha256().hexdigest()),
        "legs": [],
        "finished": [],
        "training": None,
    }
    return State(**values | changes)


def under_way() -> dict[str, Any]:
    judged = {"loss": 0.1, "examples": 3, "scores": {"r2": None, "accuracy": 1 / 3}}
    place = dict.fromkeys(
        ("loss_sum", "counted", "seconds", "train_seconds", "compile_seconds"), 0.1
    )
    place |= {"epoch": 2, "start": 1, "best": None, "waited": 0, "kept": (1, 0.25, judged)}
    return {
        "identity": Identity(labels={"step": "select", "fold": 1}, depends={"rows": "abc"}),
        "place": place | {"validations": [judged, None]},
    }


def written(folder: Path) -> Store:
    """Two checkpoints, and a model that the second one needs."""
    store = Store(folder)
    model = store.save_model({"a": np.zeros((2, 3), np.float32)})
    outcome = dict.fromkeys(("seconds", "train_seconds", "compile_seconds", "train_loss"), 1 / 3)
    outcome |= {"kept_epoch": 1, "epochs": 2, "optimizer_steps": 8, "examples": 9, "stopped": True}
    ended = Finished(
        identity=Identity(labels={"step": "pretrain"}, depends={}), how="complete", model=model,
        outcome=Outcome(**outcome, validation=None), seconds=float("inf"),
    )  # fmt: skip
    store.write(state(), {})
    store.write(state(finished=[ended], training=under_way()), TENSORS_OF_A_TRAINING)
    return store


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = written(tmp_path)
    assert store.numbers == [1, 2]
    found = store.read(2)
    place = found.state.training
    assert place is not None
    judged = place.place.validations[0]
    assert judged is not None
    assert (judged.loss, judged.scores) == (0.1, {"r2": None, "accuracy": 1 / 3})
    ended = found.state.finished[0]
    assert ended.seconds == float("inf")  # JSON has none
    assert ended.outcome is not None
    assert ended.outcome.train_loss == 1 / 3
    assert ended.model is not None
    np.testing.assert_array_equal(store.model(ended.model).read("a"), np.zeros((2, 3)))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    written(folder)
    return folder


FILES = ("000002/manifest.json", "000002/state.json", "000002/tensors.safetensors", "models")


def copied(good: Path, target: Path) -> Store:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(good, target)
    return Store(target)


def place_of(store: Store, name: str) -> Path:
    path = store.path / name
    return next(path.iterdir()) if path.is_dir() else path


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FILES), st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_no_bit_may_differ(
    good: Path, tmp_path_factory: pytest.TempPathFactory, name: str, place: float, bit: int
) -> None:
    store = copied(good, tmp_path_factory.getbasetemp() / "flipped")
    file = place_of(store, name)
    content = bytearray(file.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    file.write_bytes(content)
    with pytest.raises(Damaged, match=str(store.path)):
        store.read(2)
    assert store.read(1).number == 1  # the one before is as it was


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FILES), st.floats(0, 1, exclude_max=True))
def test_no_file_may_be_cut_off(
    good: Path, tmp_path_factory: pytest.TempPathFactory, name: str, share: float
) -> None:
    store = copied(good, tmp_path_factory.getbasetemp() / "cut")
    file = place_of(store, name)
    os.truncate(file, int(share * file.stat().st_size))
    with pytest.raises(Damaged):
        store.read(2)


@pytest.mark.parametrize("name", FILES)
def test_no_file_may_be_missing_or_a_link(good: Path, tmp_path: Path, name: str) -> None:
    store = copied(good, tmp_path / "store")
    file = place_of(store, name)
    elsewhere = tmp_path / "elsewhere"
    file.rename(elsewhere)
    with pytest.raises(Damaged, match="missing"):
        store.read(2)
    file.symlink_to(elsewhere)
    with pytest.raises(Damaged, match="link"):
        store.read(2)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 2),
        ("optimizer_steps", -1),
        ("optimizer_steps", "5"),
        ("optimizer_steps", 10**400),
        ("legs", {}),
        ("finished", [{"identity": {"labels": {}, "depends": {}}, "how": "complete", "seconds": 0,
                       "model": "../../../weights"}]),
        ("finished", [{"identity": {"labels": {}, "depends": {}}, "how": "complete",
                       "seconds": 0}]),
        ("training", {"identity": {"labels": {}, "depends": {}}, "place": {"epoch": 0}}),
        ("command", "rm"),
    ],
)  # fmt: skip
def test_a_state_of_another_shape(good: Path, tmp_path: Path, key: str, value: Any) -> None:
    """Whoever wrote it made the hashes fit; its values are still looked at one by one."""
    store = copied(good, tmp_path / "store")
    tree = json.loads((store.path / "000002" / STATE).read_text())
    forged(store.path / "000002", state_json=json.dumps(tree | {key: value}).encode())
    with pytest.raises(Damaged, match=r"state\.json"):
        store.read(2)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"format":1,"format":1}', b"NaN"]
)
def test_a_state_that_is_no_state(good: Path, tmp_path: Path, content: bytes) -> None:
    store = copied(good, tmp_path / "store")
    forged(store.path / "000002", state_json=content)
    with pytest.raises(Damaged):
        store.read(2)


def test_a_manifest_may_name_no_other_file(good: Path, tmp_path: Path) -> None:
    store = copied(good, tmp_path / "store")
    (store.path / "000002" / "more.bin").write_bytes(b"")
    (store.path / "000002" / TENSORS).unlink()
    forged(store.path / "000002")
    with pytest.raises(Damaged, match="other files"):
        store.read(2)


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for _ in range(5):
        store.write(state(), {})
    assert store.numbers == [4, 5]
    assert {path.name for path in store.path.iterdir()} == {"000004", "000005"}


@pytest.mark.parametrize("keep", [1, 3])
def test_as_many_are_kept_as_are_wanted(tmp_path: Path, keep: int) -> None:
    store = Store(tmp_path, keep)
    for _ in range(5):
        store.write(state(), {})
    assert store.numbers == list(range(6 - keep, 6))


def test_one_that_is_still_needed_stays(tmp_path: Path) -> None:
    """Folds that wait for their turn are read from the state that the leg began with."""
    store = Store(tmp_path)
    store.write(state(), {})
    store.needed = 1
    for _ in range(3):
        store.write(state(), {})
    assert store.numbers == [1, 3, 4]
    store.needed = None
    store.write(state(), {})
    assert store.numbers == [4, 5]


def test_the_tensors_are_what_safetensors_would_write(tmp_path: Path) -> None:
    drawn = np.random.default_rng(0)
    kinds = ("f8", "f4", "f2", "i8", "u4", "i2", "u1", "?")
    tensors = {f"{k}/{n}": drawn.normal(size=(n, 3)).astype(k) for k in kinds for n in (0, 1, 7)}
    tensors["transposed"] = np.arange(6.0).reshape(2, 3).T
    told = {"paribus": '{"a": "é"}'}
    hashed = write(tmp_path / "ours", tensors, told)
    theirs = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    save_file(theirs, tmp_path / "theirs", metadata=told)
    written = (tmp_path / "ours").read_bytes()
    assert written == (tmp_path / "theirs").read_bytes()
    assert hashed == sha256(written).hexdigest()


def test_clearing_takes_nothing_of_others(tmp_path: Path) -> None:
    store = written(tmp_path)
    (store.path / "mine").mkdir()
    (store.path / "mine" / "notes.txt").write_text("mine")
    (store.path / "000007").write_text("a file, and no checkpoint")
    store.clear()
    assert {path.name for path in store.path.iterdir()} == {"mine", "000007"}
    assert not store.held


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="is a link"):
        Store(tmp_path).write(state(), {})
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_leg_is_plain_values() -> None:
    leg = Leg(backend="a", device="cpu", versions={}, machine="m", after_step=0, to_step=1,
              seconds=1.0, compile_seconds=0.0)  # fmt: skip
    assert json.loads(leg.model_dump_json()) == leg.model_dump()
