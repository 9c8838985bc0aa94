"""The folder of features: complete or absent, checked, limited, safe to empty."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from paribus.features.entry import ENTRY, NUMBERS
from paribus.features.store import NoRoom, Store, folder_of

VALUES = np.arange(60, dtype=np.float64).reshape(20, 3)


def keep(store: Store, name: str, values: npt.NDArray[Any] = VALUES) -> None:
    with store.writing(name, values.shape, values.dtype) as writer:
        writer.write(values[:8])
        writer.write(values[8:])
        assert writer.read(np.array([3, 12])).tolist() == values[[3, 12]].tolist()
        writer.finish({"model": "m"}, {"8": True})


def name(digit: int) -> str:
    return f"{digit:x}" * 64


def test_what_was_kept_is_found_and_stays_while_it_is_used(tmp_path: Path) -> None:
    store = Store(tmp_path, 1 << 20)
    assert store.find(name(1)) is None
    keep(store, name(1))
    found = store.find(name(1))
    assert found is not None
    assert found.same == {"8": True}
    assert store.clear() == 1
    assert list(tmp_path.iterdir()) == []
    np.testing.assert_array_equal(found.values, VALUES)


def test_two_processes_may_write_the_same(tmp_path: Path) -> None:
    store = Store(tmp_path, 1 << 20)
    with store.writing(name(1), VALUES.shape, VALUES.dtype) as slower:
        keep(Store(tmp_path, 1 << 20), name(1))
        slower.write(VALUES)
        np.testing.assert_array_equal(slower.finish({}, {}).values, VALUES)
    assert [entry.name for entry in store.entries()] == [name(1)]
    assert [path.name for path in tmp_path.iterdir()] == [name(1)]


@pytest.mark.parametrize("damage", ["flipped", "short", "json", "other", "gone"])
def test_a_damaged_entry_is_removed_and_said(tmp_path: Path, damage: str) -> None:
    said: list[str] = []
    store = Store(tmp_path, 1 << 20, said.append)
    keep(store, name(1))
    numbers, entry = (tmp_path / name(1) / file for file in (NUMBERS, ENTRY))
    if damage == "flipped":
        data = bytearray(numbers.read_bytes())
        data[17] ^= 1
        numbers.write_bytes(data)
    elif damage == "short":
        numbers.write_bytes(numbers.read_bytes()[:-8])
    elif damage == "json":
        entry.write_text("{")
    elif damage == "other":
        told = json.loads(entry.read_text())
        entry.write_text(json.dumps({**told, "dtype": "|O"}))
    else:
        entry.unlink()
    assert store.find(name(1)) is None
    if damage != "gone":
        assert "damaged" in said[0]
        assert list(tmp_path.iterdir()) == []
    keep(store, name(1))
    assert store.find(name(1)) is not None


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    store = Store(tmp_path, 1 << 20)
    for digit in (1, 2, 3):
        keep(store, name(digit))
        os.utime(tmp_path / name(digit) / ENTRY, (digit, digit))
    assert store.find(name(1)) is not None  # used now
    size = store.entries()[0].bytes
    assert store.prune(2 * size) == 1
    assert [entry.name for entry in store.entries()] == [name(1), name(3)]
    keep(Store(tmp_path, 2 * size), name(4))
    assert [entry.name for entry in store.entries()] == [name(4), name(1)]


def test_what_does_not_fit_is_refused_before_it_is_computed(tmp_path: Path) -> None:
    with pytest.raises(NoRoom, match=r"cache\.limit"), Store(tmp_path, 100).writing(
        name(1), VALUES.shape, VALUES.dtype
    ):  # fmt: skip
        raise AssertionError("there was no room")
    (tmp_path / "file").write_text("")
    with pytest.raises(NoRoom, match="cannot be written"), Store(
        tmp_path / "file", 1 << 20
    ).writing(name(1), VALUES.shape, VALUES.dtype):  # fmt: skip
        raise AssertionError("there was no folder")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_nothing_else_in_the_folder_is_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    (tmp_path / "folder").mkdir()
    store = Store(tmp_path, 1 << 20)
    keep(store, name(1))
    assert store.clear() == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "thesis.txt"]


def test_where_the_folder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder_of(None) == Path(os.environ["PARIBUS_CACHE"]) / "features"
    monkeypatch.delenv("PARIBUS_CACHE")
    assert folder_of(None) == tmp_path / "paribus" / "features"
    assert folder_of(str(tmp_path / "own")) == tmp_path / "own"
