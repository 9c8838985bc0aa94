"""The packages that ONNX needs and paribus does not bring unless asked to."""

from __future__ import annotations

from importlib import import_module

from paribus.errors import BackendMissing

INSTALL = "pip install 'paribus[onnx]'"


def require(*packages: str) -> None:
    """Import packages, or say how to install them.

    Raises:
        BackendMissing: one cannot be imported.
    """
    for package in packages:
        try:
            import_module(package)
        except Exception as error:  # a package that is half installed may raise anything
            raise BackendMissing(
                f"ONNX files need the package {package!r}, which cannot be imported "
                f"({type(error).__name__}: {error}). Install it with: {INSTALL}"
            ) from error
