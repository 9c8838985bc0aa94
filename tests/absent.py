"""A machine on which packages are not installed, for a process of its own."""

from __future__ import annotations

from pathlib import Path

# Packages that cannot be found, in every process with this folder on its module path.
BLOCKER = """
from importlib.machinery import PathFinder

found = PathFinder.find_spec

def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in {BLOCKED} else found(name, path, target)

PathFinder.find_spec = find_spec
"""


def without(folder: Path, *packages: str) -> dict[str, str]:
    """Return an environment in which these packages are not to be found."""
    hooks = folder / "hooks"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(BLOCKER.replace("{BLOCKED}", repr(set(packages))))
    return {"PYTHONPATH": str(hooks)}
