"""Backends are found by their entry points, and what is wrong with one is said by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cases
import pytest
import third_party
from labs import PROMISED

from paribus import registry
from paribus.errors import (
    BackendError,
    BackendMissing,
    DeviceMissing,
    UnknownBackend,
    Unsupported,
)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the module path, here and in child processes."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def test_our_own_backends_come_first_and_in_order(site: Path) -> None:
    third_party.install(site, "zeta-backend", "zeta")
    third_party.install(site, "alpha-backend", "alpha")
    assert registry.names() == [*PROMISED, "alpha", "zeta"]
    assert registry.choose("auto").name == PROMISED[0]


def test_a_third_party_s_backend_is_found(site: Path) -> None:
    third_party.install(site, "echo-backend", "echo")
    assert registry.require("echo").title == "Echo"
    assert registry.choose("echo").name == "echo"


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownBackend, match=r"'tensorfow'.*torch.*Did you mean 'tensorflow'\?"):
        registry.get("tensorfow")


def test_a_missing_framework_is_answered_with_the_command(site: Path) -> None:
    third_party.install(site, "echo-backend", "echo", reason="package 'echo' is not installed")
    assert registry.get("echo").name == "echo"
    with pytest.raises(BackendMissing, match=r"package 'echo' is not installed.*pip install echo"):
        registry.require("echo")


def test_two_distributions_of_one_name_are_both_named(site: Path) -> None:
    third_party.install(site, "one-backend", "echo")
    third_party.install(site, "two-backend", "echo")
    with pytest.raises(BackendError, match="one-backend and two-backend"):
        registry.get("echo")
    assert registry.get(PROMISED[0]).name == PROMISED[0]


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("raise RuntimeError('half an upgrade')", "RuntimeError: half an upgrade"),
        ("import no_such_module", "no_such_module"),
        ("backend = 3", "is a int, not a paribus.adapter.Backend"),
        ("x = 1", "AttributeError"),
    ],
)
def test_a_broken_backend_is_named_and_the_others_work(
    site: Path, source: str, complaint: str
) -> None:
    third_party.install(site, "broken-backend", "broken", source=source)
    third_party.install(site, "echo-backend", "echo")
    with pytest.raises(BackendError, match=r"'broken'.*broken-backend") as refused:
        registry.get("broken")
    assert complaint in str(refused.value)
    assert registry.require("echo").name == "echo"
    assert "broken" in registry.names()
    assert complaint in str(registry.probe("broken").reason)


def test_a_descriptor_that_bears_another_name_is_refused(site: Path) -> None:
    third_party.install(site, "echo-backend", "echo", says="ocho")
    with pytest.raises(BackendError, match=r"'echo'.*calls itself 'ocho'"):
        registry.get("echo")


def test_auto_with_nothing_installed_lists_every_command(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    third_party.install(site, "echo-backend", "echo", reason="package 'echo' is not installed")
    third_party.install(site, "broken-backend", "broken", source="import no_such_module")
    monkeypatch.setattr(registry, "names", lambda: ["broken", "echo"])
    with pytest.raises(BackendMissing) as refused:
        registry.choose("auto")
    assert "pip install echo" in str(refused.value)
    assert "no_such_module" in str(refused.value)


def test_capabilities_are_checked_without_the_framework(site: Path) -> None:
    third_party.install(site, "echo-backend", "echo", reason="not even installed")
    echo = registry.get("echo")
    task = replace(cases.task(cases.MLP), rule="adam")
    with pytest.raises(Unsupported) as refused:
        registry.check(echo, cases.MLP, task, "float64", "cuda:1")
    for word in ("'echo'", "flatten", "tanh", "adam", "float64", "cuda", "linear", "sgd"):
        assert word in str(refused.value)


def test_a_device_type_stands_for_its_first_device(site: Path) -> None:
    source = third_party.ECHO.replace('["cpu"]', '["cuda:0", "cuda:1", "cpu"]')
    source = source.replace('"NAME"', '"echo"').replace("REASON", "None")
    third_party.install(site, "echo-backend", "echo", source=source)
    echo = registry.get("echo")
    resolved = [registry.resolve_device(echo, name) for name in ("auto", "cuda", "cuda:1", "cpu:0")]
    assert resolved == ["cuda:0", "cuda:0", "cuda:1", "cpu"]
    with pytest.raises(DeviceMissing, match=r"'mps'.*auto, cuda:0, cuda:1, cpu"):
        registry.resolve_device(echo, "mps")


def test_probing_says_what_is_there(site: Path) -> None:
    third_party.install(site, "echo-backend", "echo")
    echo = registry.probe("echo")
    assert (echo.title, echo.devices, echo.reason, echo.install) == ("Echo", ("cpu",), None, None)
    assert list(echo.versions) == ["numpy"]


def test_probing_survives_whatever_a_framework_does(site: Path) -> None:
    prints = 'print("loud"); return ["cpu"]'
    for name, body in {
        "loud": prints,
        "aborts": "os.abort()",
        "hangs": "import time; time.sleep(60)",
        "raises": 'raise OSError("no driver")',
    }.items():
        source = third_party.ECHO.replace('return ["cpu"]', body).replace('"NAME"', repr(name))
        source = source.replace("REASON", "None")
        third_party.install(site, f"{name}-backend", name, source=source)
    assert registry.probe("loud").devices == ("cpu",)
    assert "ended with code" in str(registry.probe("aborts").reason)
    assert "did not answer within 5 seconds" in str(registry.probe("hangs", timeout=5).reason)
    assert "OSError: no driver" in str(registry.probe("raises").reason)


@pytest.mark.parametrize("name", PROMISED)
def test_the_promised_backends_are_installed(name: str) -> None:
    probe = registry.probe(name)
    assert probe.reason is None
    assert probe.devices[-1] == "cpu"
    assert list(probe.versions) == list(registry.get(name).packages)
