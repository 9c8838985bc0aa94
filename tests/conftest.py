"""Fixtures: adapter tests run on each promised backend, a run's tests share one worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import languages as languages_of_tests
import pytest
from command import THREADS, Run, Runner, Worker, process
from experiments import FOUR
from labs import PROMISED, Lab, Pool
from sharing import COMPILED, common, once

from paribus.testing.plugin import DEVICE

# The files that take longest, so that no process of several is left alone with one at the end.
# Between two that use the same runs stand others: who comes second does not wait for them.
LONGEST = (
    "adapters/test_conformance_jax.py", "adapters/test_conformance_tensorflow.py",
    "steps/test_texts.py", "adapters/test_noise.py", "verifying/test_agreement.py",
    "native/test_verify_ports.py", "cli/test_text_export.py", "features/test_frozen.py",
    "cli/test_backends.py", "runstate/test_elsewhere.py", "verifying/test_planted.py",
    "cli/test_export.py", "native/test_runs.py",
    "steps/test_streaming.py", "cli/test_python.py", "cli/test_new_adapter.py",
    "hostile/test_fuzzing.py", "runstate/test_every_write.py", "adapters/test_fast.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; others, and the tests of each, stay in their order."""
    here = Path(__file__).parent
    places = {here / name: place for place, name in enumerate(LONGEST)}
    if gone := [str(path) for path in places if not path.exists()]:
        raise pytest.UsageError(f"LONGEST in {__file__} names no files: {', '.join(gone)}")
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that is kept or remembered comes from the user's own runs, or goes there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARIBUS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(common(tmp_path_factory) / "compiled"))
        for name, value in COMPILED.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    # With the plugin of the conformance suite, on another device: CONTRIBUTING.md.
    pool = Pool(str(request.config.getoption(DEVICE, default="cpu")))
    yield pool
    pool.close()


@pytest.fixture(params=PROMISED)
def lab(request: pytest.FixtureRequest, pool: Pool) -> Lab:
    return Lab(pool, request.param)


@pytest.fixture
def labs(pool: Pool) -> dict[str, Lab]:
    return {name: Lab(pool, name) for name in PROMISED}


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small checkpoints as transformers publishes them; ``published.py`` says which."""

    def write(folder: Path) -> Path:
        program = Path(__file__).with_name("published.py")
        done = subprocess.run(
            [sys.executable, program, folder], env={**os.environ, **THREADS}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return folder

    return once(tmp_path_factory, "published", write)


@pytest.fixture(scope="session")
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


@pytest.fixture
def run(tmp_path: Path, worker: Worker) -> Runner:
    return Runner(tmp_path, worker)


@pytest.fixture(scope="session")
def four(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """The four-step experiment on each promised backend, each in a process of its own."""

    def runs(folder: Path) -> dict[str, Run]:
        spec = folder / "four.json"
        spec.write_text(json.dumps(FOUR))
        options = ("--device", "cpu", "--out")

        def command(name: str) -> Run:
            done = process("run", spec, "--backend", name, *options, folder / name, cwd=folder)
            return Run(folder / name, done)

        # Most of it is importing frameworks, which two processes may do side by side.
        with ThreadPoolExecutor(max_workers=2) as pool:
            return dict(zip(PROMISED, pool.map(command, PROMISED), strict=True))

    return once(tmp_path_factory, "four", runs)


@pytest.fixture(scope="session")
def languages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Run]]:
    """Every experiment on every backend."""

    def runs(folder: Path) -> dict[str, dict[str, Run]]:
        languages_of_tests.write(folder)
        found: dict[str, dict[str, Run]] = {}
        for backend in PROMISED:
            worker = Worker()
            try:
                runner = Runner(folder, worker)
                found[backend] = {
                    name: runner(tree, "--backend", backend, out=f"{backend}-{name}")
                    for name, tree in languages_of_tests.EXPERIMENTS.items()
                }
            finally:
                worker.close()
        return found

    return once(tmp_path_factory, "texts", runs)


@pytest.fixture
def ended(pool: Pool) -> Iterator[None]:
    """End the frameworks' processes: they keep what a full-size model took."""
    yield
    pool.close()
