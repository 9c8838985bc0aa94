"""What became of each check: *not claimed* as an outcome of its own, and all of it as JSON."""

from __future__ import annotations

import json
from collections.abc import Generator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest

from paribus import registry
from paribus.errors import ParibusError
from paribus.testing import checks
from paribus.testing.bench import NOT_CLAIMED

PLUGIN = "paribus-conformance"
PROPERTY = "conformance"


class Outcomes:
    """Reports of checks; a pytest plugin that the suite's fixtures register where none is.

    Args:
        file: where the summary is written when the session ends; None for nowhere.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._checks: dict[str, dict[str, dict[str, Any]]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Say in the report which check it is of, and whether that was not claimed."""
        report = yield
        check = of(item)
        if check is not None:
            said = {
                "check": check,
                "backend": getattr(item, "funcargs", {}).get("backend", ""),
                "not_claimed": call.excinfo is not None and _excluded(call.excinfo.value),
            }
            report.user_properties.append((PROPERTY, said))
        return report

    def pytest_report_teststatus(
        self, report: pytest.CollectReport | pytest.TestReport
    ) -> tuple[str, str, str] | None:
        """Give what is not claimed a category of its own, beside passed and skipped."""
        said = _said(report)
        if said is not None and said["not_claimed"]:
            return NOT_CLAIMED, "n", "NOT CLAIMED"
        return None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take up what became of a check; a failure of its setup or teardown is its own."""
        said = _said(report)
        if said is None or (report.when != "call" and report.outcome == "passed"):
            return
        entry = {"outcome": _outcome(report, said), "seconds": round(report.duration, 4)}
        if report.outcome == "skipped" and not said["not_claimed"]:
            entry["reason"] = str(getattr(report, "wasxfail", "") or report.longreprtext)
        elif said["not_claimed"]:
            entry["reason"] = str(report.longrepr[2]) if report.longrepr else ""  # type: ignore[index]
        elif report.outcome == "failed":
            entry["reason"] = _last_line(report)
        self._checks.setdefault(said["backend"], {})[said["check"]] = entry

    def pytest_sessionfinish(self) -> None:
        """Write the summary."""
        if self._file is None:
            return
        backends = {name: {**_described(name), "checks": own} for name, own in self._checks.items()}
        summary = {"paribus": version("paribus"), "backends": backends}
        self._file.write_text(json.dumps(summary, indent=1, sort_keys=True) + "\n")


def of(item: pytest.Item) -> str | None:
    """Return the name of the check that a test item is, or None."""
    function = getattr(item, "function", None)
    call = getattr(item, "callspec", None)
    return None if function is None else checks.name(function, {} if call is None else call.params)


def _excluded(error: BaseException) -> bool:
    return isinstance(error, pytest.skip.Exception) and str(error).startswith(NOT_CLAIMED)


def _said(report: pytest.CollectReport | pytest.TestReport) -> dict[str, Any] | None:
    for key, value in getattr(report, "user_properties", ()):
        if key == PROPERTY and isinstance(value, dict):
            return value
    return None


def _outcome(report: pytest.TestReport, said: dict[str, Any]) -> str:
    if said["not_claimed"]:
        return NOT_CLAIMED
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.outcome == "skipped" else "failed"
    return report.outcome


def _last_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash is not None else report.longreprtext).splitlines()[0][:400]


def _described(name: str) -> dict[str, Any]:
    """Return a backend's title, versions and claims; of one that is not registered, nothing."""
    try:
        backend = registry.get(name)
    except ParibusError as error:
        return {"title": name, "versions": {}, "claims": {}, "reason": str(error)}
    versions = {}
    for package in backend.packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    can = backend.capabilities
    claims = {
        "operations": sorted(can.operations),
        "rules": sorted(can.rules),
        "precisions": sorted(can.precisions),
        "device_types": sorted(can.device_types),
    }
    return {"title": backend.title, "versions": versions, "claims": claims}
