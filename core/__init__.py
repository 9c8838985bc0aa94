"""paribus: one experiment spec, the same training on every framework.

    spec = paribus.load("examples/digits.toml")
    result = paribus.run(spec, backend="torch", device="cpu")
    result.test, result.folder, result.predict(images), result.native()

Names are imported when they are first used, so that ``import paribus`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paribus.checkpoint import Checkpoint
    from paribus.comparing import Comparison, compare
    from paribus.errors import ParibusError
    from paribus.exporting import export
    from paribus.result import Result
    from paribus.running import run
    from paribus.spec import Spec
    from paribus.spec.load import load
    from paribus.verifying import Verification, verify

_HOME = {
    "Checkpoint": "paribus.checkpoint",
    "Comparison": "paribus.comparing",
    "ParibusError": "paribus.errors",
    "Result": "paribus.result",
    "Spec": "paribus.spec",
    "Verification": "paribus.verifying",
    "compare": "paribus.comparing",
    "export": "paribus.exporting",
    "load": "paribus.spec",
    "run": "paribus.running",
    "verify": "paribus.verifying",
}

__all__ = [
    "Checkpoint",
    "Comparison",
    "ParibusError",
    "Result",
    "Spec",
    "Verification",
    "compare",
    "export",
    "load",
    "run",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'paribus' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
