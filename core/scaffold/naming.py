"""What a new adapter is called: the backend, its distribution, its module and its classes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from paribus import registry
from paribus.errors import SpecError

# A distribution's name in its normal form (PEP 503) that makes an identifier too.
NORMAL = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
TAKEN = ("auto", "onnx")


@dataclass(frozen=True)
class Naming:
    """The names that follow from a backend's.

    Attributes:
        backend: what users write after ``--backend``.
    """

    backend: str

    @property
    def distribution(self) -> str:
        """What is installed, and the folder's name."""
        return f"paribus-{self.backend}"

    @property
    def module(self) -> str:
        """What is imported."""
        return self.distribution.replace("-", "_")

    @property
    def prefix(self) -> str:
        """What the classes' names begin with."""
        return "".join(part.capitalize() for part in self.backend.split("-"))


def naming(name: str) -> Naming:
    """Return the names of a new backend called ``name``.

    Raises:
        SpecError: not a name for a package and a command line, or one that is taken.
    """
    if not NORMAL.fullmatch(name):
        normal = re.sub(r"[-_.\s]+", "-", name.lower()).strip("-")
        hint = f" For example: {normal}." if NORMAL.fullmatch(normal) else ""
        raise SpecError(
            f"{name!r} cannot name an adapter; allowed are lower-case letters, digits and single "
            f"hyphens between them, beginning with a letter.{hint}"
        )
    if name in TAKEN:
        raise SpecError(f"{name!r} means something else to paribus; choose another name")
    known = registry.names()
    if name in known:
        raise SpecError(
            f"a backend {name!r} is registered already (registered: {', '.join(known)}); "
            "choose another name"
        )
    return Naming(name)
