"""What checks are given, and what a test file may say for itself: backend, device, known failures.

A test file defines ``backend``; ``device`` and ``known_failures`` where it has to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from paribus.errors import nearest
from paribus.testing import checks
from paribus.testing.bench import Bench
from paribus.testing.outcomes import PLUGIN, Outcomes, of
from paribus.testing.plugin import DEVICE, IN_PROCESS

KnownFailures = Mapping[str, tuple[str, type[BaseException]]]


@pytest.fixture(scope="session")
def backend() -> str:
    """Return the registered name of the backend under test; every test file defines its own."""
    raise pytest.UsageError(
        "the conformance suite needs a fixture of scope 'session' called 'backend', defined below "
        "its import, that returns the backend's registered name"
    )


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """Return the device that sessions are opened on: ``cpu`` unless an option says otherwise."""
    return str(request.config.getoption(DEVICE, default="cpu"))


@pytest.fixture(scope="session")
def known_failures() -> KnownFailures:
    """Return check → (reason, exception) of what is known to fail; to pass is then a failure."""
    return {}


# A test file is a backend's: its child, which may hold gigabytes, ends with it.
@pytest.fixture(scope="module")
def bench(request: pytest.FixtureRequest, backend: str, device: str) -> Iterator[Bench]:
    """The backend under test, in a child process unless an option says otherwise."""
    in_process = bool(request.config.getoption(IN_PROCESS, default=False))
    opened = Bench(backend, device, in_process=in_process)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def conformance(
    request: pytest.FixtureRequest, backend: str, known_failures: dict[str, Any]
) -> None:
    """Mark what is known to fail, and have outcomes reported."""
    plugins = request.config.pluginmanager
    if not plugins.has_plugin(PLUGIN):
        plugins.register(Outcomes(), PLUGIN)
    for unknown in sorted(set(known_failures) - set(checks.names())):
        near = nearest(unknown, checks.names())
        raise pytest.UsageError(f"known_failures: there is no check {unknown!r}.{near}")
    check = of(request.node)
    if check in known_failures:
        reason, error = known_failures[check]
        request.node.add_marker(pytest.mark.xfail(reason=reason, raises=error, strict=True))
