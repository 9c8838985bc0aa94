"""``paribus new-adapter``: a package that installs at once and says what to write next."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command import Worker, process, refused
from labs import PROMISED

from paribus.adapter import Pending, Session

FILES = [
    "README.md",
    "pyproject.toml",
    "src/paribus_dry_run/__init__.py",
    "src/paribus_dry_run/py.typed",
    "src/paribus_dry_run/session.py",
    "tests/test_conformance.py",
]
# What a session that is not written answers to each method of the contract.
ASK = """
import inspect, json
from paribus import registry
from paribus.adapter import Session, Task
from paribus.architectures import build
from paribus.errors import Unsupported

network = build("mlp", {"hidden": [2]}, (2,), 2)
backend = registry.require("dry-run")
task = Task("sgd", network.trainable("none"))
said = {}
with backend.open(network, task, device="cpu", precision="float64", numerics="strict") as session:
    for name in Session.__abstractmethods__ - {"close"}:
        given = inspect.signature(getattr(session, name)).parameters
        arguments = {key: None for key in given}
        try:
            getattr(session, name)(**arguments)
        except Unsupported as error:
            said[name] = str(error)
    said["activations"] = session.activations(None, None, training=False)
print(json.dumps(said))
"""


# Enough checks to see every group of messages.
SOME = "mlp or descriptor or sessions or state"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it is written, in a folder with a space in its name."""
    folder = tmp_path_factory.mktemp("new adapter")
    done = process("new-adapter", "dry-run", folder, cwd=folder)
    assert done.code == 0, done.err
    assert f"wrote {folder / 'paribus-dry-run'}" in done.said
    return folder / "paribus-dry-run"


@pytest.fixture(scope="module")
def installed(package: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The package installed by pip; the environment in which it is found."""
    site = tmp_path_factory.mktemp("site")
    words = ("install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index",
             "--no-build-isolation", "--target", site, package)  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {"PYTHONPATH": str(site)}


def test_the_package_is_complete(package: Path) -> None:
    made = sorted(str(path.relative_to(package)) for path in package.rglob("*.*"))
    assert [name for name in made if "build" not in name and "egg-info" not in name] == FILES


def test_the_session_s_methods_are_those_of_the_contract(package: Path) -> None:
    """Every signature and docstring, line by line."""
    written = (package / "src/paribus_dry_run/session.py").read_text()
    methods = [getattr(Session, name) for name in vars(Session) if name[0] != "_"]
    for method in [*filter(callable, methods), Pending.result]:
        source = inspect.getsource(method).replace("    @abstractmethod\n", "")
        docstring = source[: source.rindex('"""') + 3]
        assert docstring in written, method.__name__


def test_the_installed_backend_is_listed(installed: dict[str, str], tmp_path: Path) -> None:
    done = process("backends", cwd=tmp_path, environment=installed)
    line = next(line for line in done.out.splitlines() if line.startswith("dry-run"))
    assert "devices: cpu" in line
    found = json.loads(process("backends", "--json", cwd=tmp_path, environment=installed).out)
    assert [probe["name"] for probe in found] == [*PROMISED, "dry-run"]


def test_every_method_says_that_it_is_to_be_written(installed: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", ASK], env={**os.environ, **installed},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said.pop("activations") == {}
    assert set(said) == Session.__abstractmethods__ - {"close"}
    for name, message in said.items():
        assert message.startswith(f"write {name} in ")
        assert "session.py: " in message


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Tiny_Grad", "allowed are lower-case letters, digits and single hyphens"),
        ("Tiny_Grad", "For example: tiny-grad."),
        ("3d", "beginning with a letter"),
        ("tiny--grad", "single hyphens"),
        ("../elsewhere", "cannot name an adapter"),
        ("torch", "registered already"),
        ("onnx", "means something else"),
    ],
)
def test_a_wrong_name_is_refused(worker: Worker, tmp_path: Path, name: str, words: str) -> None:
    done = worker("new-adapter", name, tmp_path, cwd=tmp_path)
    refused(done, 2, repr(name), words)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_there_is_left_as_it_is(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "paribus-dry-run").mkdir()
    done = worker("new-adapter", "dry-run", cwd=tmp_path)
    refused(done, 2, "paribus-dry-run exists and is left as it is")
    assert not list((tmp_path / "paribus-dry-run").iterdir())
    (tmp_path / "file").write_text("")
    refused(worker("new-adapter", "dry-run", "file", cwd=tmp_path), 2, "cannot be written")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["file", "paribus-dry-run"]


def test_the_package_s_own_tests_say_what_to_write_next(
    package: Path, installed: dict[str, str], tmp_path: Path
) -> None:
    """What is written passes; what fails, fails because a method is to be written."""
    summary = tmp_path / "summary.json"
    words = ("-q", "-p", "no:cacheprovider", "-p", "paribus.testing.plugin")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, "--conformance", summary, "-k", SOME],
        cwd=package, env={**os.environ, **installed}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout[-2000:] + done.stderr
    checks = json.loads(summary.read_text())["backends"]["dry-run"]["checks"]
    reasons = {name: c["reason"] for name, c in checks.items() if c["outcome"] == "failed"}
    passed = {name for name, c in checks.items() if c["outcome"] == "passed"}
    assert len(reasons) > 20
    for name, reason in reasons.items():
        assert "write " in reason, (name, reason)
        assert "session.py: " in reason, (name, reason)
    assert any(name.startswith("descriptor.") for name in passed)
    first = re.search(r"Unsupported: (write \w+) in ", done.stdout)
    assert first is not None
    assert first[1] == "write import_weights"
