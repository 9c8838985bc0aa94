"""Nothing heavy is imported before it is needed, and the two folders are one package."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from labs import PROMISED

import paribus

FRAMEWORKS = frozenset(
    {"torch", "torchvision", "tensorflow", "keras", "transformers", "sklearn", "jax"}
)
# What core imports only when texts or tables are read.
READERS = frozenset({"pyarrow", "tokenizers", "pandas"})
ROOT = Path(__file__).parents[1]
CORE = Path(paribus.__path__[0])
SOURCES = [
    path
    for folder in ("core", "backends", "tests", "examples", "benchmarks", "scripts")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def _imported_by(statement: str) -> set[str]:
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in done.stdout.split()}


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")


@pytest.mark.parametrize(
    "statement",
    [
        "import paribus",
        "import paribus.registry, paribus.remote, paribus.scores",
        "from paribus import registry; [registry.get(name) for name in registry.names()]",
        "from paribus import registry; [registry.get(n).available() for n in registry.names()]",
        *(f"import paribus.backends.{name}" for name in PROMISED),
    ],
)
def test_no_framework_is_imported(statement: str) -> None:
    assert not _imported_by(statement) & (FRAMEWORKS | READERS)


def test_core_never_imports_a_framework_but_scikit_learn() -> None:
    """scikit-learn is a dependency of core, imported inside the functions that use it."""
    offenders = [
        f"{path}:{line}: {name}"
        for path in sorted(CORE.rglob("*.py"))
        for line, name in _imports(path)
        if name.partition(".")[0] in FRAMEWORKS - {"sklearn"}
    ]
    assert not offenders


def test_core_does_not_know_its_backends() -> None:
    offenders = [
        f"{path}:{line}: {name}"
        for path in sorted(CORE.rglob("*.py"))
        for line, name in _imports(path)
        if name.startswith("paribus.backends")
    ]
    assert not offenders


def test_the_package_is_called_by_its_name() -> None:
    """``core`` and ``backends`` are folders; what is imported is ``paribus``, and absolutely."""
    offenders = [
        f"{path}:{line}: {name}"
        for path in SOURCES
        for line, name in _imports(path)
        if name.startswith(".") or name.partition(".")[0] in ("core", "backends")
    ]
    assert len(SOURCES) > 20
    assert not offenders
