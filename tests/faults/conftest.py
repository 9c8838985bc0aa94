"""A machine with faults that are planted: one worker, whose adapter reads which."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import scanty
from command import Runner, Worker

Faulty = Callable[..., Runner]


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    """Return a runner of the backend ``scanty``, in a fresh folder, with these faults."""
    folder = tmp_path_factory.mktemp("scanty")
    scanty.install(folder)
    faults = folder / "faults.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        patch.setenv("SCANTY", str(faults))
        # The child keeps what it is started with; nobody else is to see the backend.
        worker = Worker()

    def runner(place: Path, **found: Any) -> Runner:
        faults.write_text(json.dumps(found))
        return Runner(place, worker)

    yield runner
    worker.close()
