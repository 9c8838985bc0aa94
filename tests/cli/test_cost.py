"""What needs no framework imports none: the command answers before a framework could be found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import python
from experiments import FOUR

HEAVY = {
    "torch", "torchvision", "tensorflow", "keras", "transformers", "jax", "sklearn", "optuna",
    "scipy", "PIL",
}  # fmt: skip
# Quick to import, but not so quick that it should be done for nothing.
LIGHT = {"numpy", "yaml", "safetensors"}

PROGRAM = """
import contextlib, io, json, sys
with contextlib.redirect_stdout(io.StringIO()):
    if sys.argv[1:]:
        from paribus.cli import main
        code = main(sys.argv[1:])
    else:
        import paribus
        code = 0
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


@pytest.mark.parametrize(
    "arguments",
    [[], ["--help"], ["run", "--help"], ["--version"], ["check", "SPEC"], ["init", "new.toml"],
     ["schema"], ["models"]],
    ids=" ".join,
)  # fmt: skip
def test_no_framework_is_imported(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(FOUR))
    words = ["spec.json" if word == "SPEC" else word for word in arguments]
    code, modules = python(PROGRAM, *words, cwd=tmp_path)
    assert code == 0
    light = not arguments or arguments[-1] in ("--help", "--version")
    assert not set(modules) & (HEAVY | LIGHT if light else HEAVY)


def test_a_run_imports_its_framework_and_little_else(tmp_path: Path) -> None:
    """Each of these takes as long as the training of a small model."""
    spec = FOUR | {"steps": ["finetune"], "finetune": {"epochs": 1}}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    words = ["run", "spec.json", "--backend", "torch", "--quiet"]
    code, modules = python(PROGRAM, *words, cwd=tmp_path)
    assert code == 0
    assert "torch" in modules
    # sympy is what PyTorch's compiler needs; torchvision, what only its own models do.
    others = {"sklearn", "sympy", "torchvision", "optuna", "tensorflow", "keras", "transformers"}
    assert not set(modules) & others
