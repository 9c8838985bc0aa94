"""``[native]``: models of the user's own, by backend, and the table of their tensors' names.

A path here is taken from the folder of the spec: the code and the spec belong together, wherever
they are called from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from paribus.errors import SpecError
from paribus.spec.base import Section
from paribus.spec.tree import Tree

KEY = "native"
NAME = r"[A-Za-z_][A-Za-z0-9_]*"
TARGET = re.compile(rf"{NAME}(\.{NAME})*:{NAME}")


class Native(Section, extra="allow"):
    """A function for each backend that returns its model: ``torch = "package.module:function"``.

    It takes nothing. The model reads images or tables as the backend's users give them, and returns
    logits, or numbers for regression.
    """

    path: str | None = Field(
        default=None, description="Folder of the modules; by default the spec's own."
    )
    names: str | None = Field(
        default=None, description="JSON file: which tensor of one model is which of another."
    )

    initial: str | None = Field(
        default=None,
        description="Weights that drawn means; by default what the reference's function draws.",
    )

    @model_validator(mode="after")
    def _targets(self) -> Self:
        if not self.builders:
            raise ValueError("name a function for a backend, such as torch = 'mymodels:build'")
        for backend, target in self.builders.items():
            if not isinstance(target, str) or not TARGET.fullmatch(target):
                raise ValueError(
                    f"{backend} = {target!r}: allowed: package.module:function, such as "
                    "'mymodels:build'"
                )
        return self

    @property
    def builders(self) -> dict[str, Any]:
        """Backend → ``package.module:function``."""
        return dict(self.model_extra or {})


def with_folder(tree: Tree, folder: Path | None) -> Tree:
    """Return ``tree`` with the paths of ``[native]`` absolute.

    Args:
        tree: of a spec, with or without the section.
        folder: of the spec's file; None for a mapping, whose relative paths say too little.

    Raises:
        SpecError: a mapping names no folder, or a relative path.
    """
    section = tree.get(KEY)
    if not isinstance(section, Mapping):
        return tree
    found = dict(section)
    if "path" not in found:
        if folder is None:
            raise SpecError(
                "native: a spec that is no file has no folder; name that of the modules: "
                "native.path = '/…/models'"
            )
        found["path"] = str(folder.absolute())
    for key in ("path", "names", "initial"):
        value = found.get(key)
        if not isinstance(value, str) or value == "none":
            continue
        path = Path(value).expanduser()
        if not path.is_absolute():
            if folder is None:
                raise SpecError(
                    f"native.{key} = {value!r}: a spec that is no file has no folder to take it "
                    "from; give an absolute path"
                )
            path = folder.absolute() / path
        found[key] = str(path)
    return {**tree, KEY: found}
