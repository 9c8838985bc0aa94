"""A state is put together beside the one that is being written, and written behind it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from paribus.adapter import Array
from paribus.runstate.journal import Journal
from paribus.runstate.records import Finished, Identity, Mark, State
from paribus.runstate.states import States
from paribus.runstate.store import Store
from paribus.runstate.waiting import Waiting


class Slow(Store):
    """A store on a slow disk, which says what it does."""

    def __init__(self, folder: Path, did: list[str]) -> None:
        super().__init__(folder)
        self._did = did

    def write(self, state: State, tensors: Mapping[str, Array]) -> None:
        self._did.append("a state begins")
        time.sleep(0.2)
        super().write(state, tensors)
        self._did.append("it is there")

    def save_model(self, tensors: Mapping[str, Array]) -> str:
        self._did.append("a model")
        return super().save_model(tensors)


def test_a_finished_model_waits_for_the_state_that_is_being_written(tmp_path: Path) -> None:
    """Which would sweep the half-written model away, and the run would end for want of it."""
    did: list[str] = []
    store = Slow(tmp_path, did)
    folder: Any = SimpleNamespace(mark=lambda: Mark(size=0, sha256=sha256().hexdigest()))
    leg = SimpleNamespace(warn=did.append)
    ledger: Any = SimpleNamespace(leg=leg, spec={}, data={}, upto=lambda steps: [])
    journal = Journal()
    states = States(folder, store, ledger, journal, Waiting(None), None, best=False)
    states.keep([], 1, must=False)
    ended = Identity(labels={"step": "pretrain"}, depends={})
    journal.add(Finished(identity=ended, how="diverged", error="a loss", seconds=1.0))
    states.hold(0, {"a": np.ones(3, np.float32)})
    states.keep([], 2, must=True)
    states.saver.close()
    whole = ["a state begins", "it is there"]
    assert did == [*whole, "a model", *whole]
    (entry,) = store.read(2).state.finished
    assert entry.model is not None
