"""Options of pytest for a conformance run: ``pytest -p paribus.testing.plugin --conformance FILE``.

It is not loaded by itself: an installed paribus changes nothing about anybody's tests. Without it
the suite runs all the same, and writes no summary.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from paribus.testing.outcomes import PLUGIN, Outcomes

IN_PROCESS = "--conformance-in-process"
DEVICE = "--conformance-device"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("paribus", "conformance of a backend of paribus")
    group.addoption(
        "--conformance", type=Path, metavar="FILE", help="write what became of each check as JSON"
    )
    group.addoption(
        DEVICE, default="cpu", metavar="DEVICE", help="where sessions are opened: cpu, cuda, mps"
    )
    group.addoption(
        IN_PROCESS, action="store_true", help="run the backend in this process, not in a child"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the reports."""
    config.pluginmanager.register(Outcomes(config.getoption("--conformance")), PLUGIN)
