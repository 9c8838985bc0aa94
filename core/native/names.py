"""The table of names as a file: canonical tensor → the other framework's tensor and its layout.

    {"reference": "torch",
     "tensorflow": {
       "conv1.weight": {"name": "conv1/kernel", "axes": [2, 3, 1, 0]},
       "conv1.bias": "conv1/bias",
       "fc.weight": {"name": "fc/kernel", "view": [10, 8, 7, 7], "axes": [2, 3, 1, 0],
                     "shape": [10, 392]},
       "attention.in_proj_weight": [{"name": "q/kernel", "axes": [1, 0]}, …]}}

``reference`` is the backend whose names and layouts are the canonical ones; every other backend has
a table. ``paribus.native.layout`` says what ``view``, ``axes`` and a list of parts mean; ``shape``
is the canonical one, needed where it does not follow from the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paribus.architectures.network import Shape
from paribus.errors import SpecError
from paribus.native.layout import Part, Table

LARGEST = 16 * 2**20
REFERENCE = "reference"
KEYS = ("name", "axes", "view", "shape")


@dataclass(frozen=True)
class Entry:
    """One line of a table, before the models are known; see ``layout.Part``."""

    name: str
    axes: tuple[int, ...] | None = None
    view: Shape | None = None
    shape: Shape | None = None


@dataclass(frozen=True)
class Names:
    """A whole file.

    Attributes:
        reference: the backend whose names are canonical.
        tables: of the other backends: canonical name → the parts.
    """

    reference: str
    tables: Mapping[str, Mapping[str, tuple[Entry, ...]]]


def read(path: str | Path) -> Names:
    """Read a table of names.

    Raises:
        SpecError: no such file, too large, not JSON, or not a table of names; it says where.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except OSError as error:
        raise SpecError(
            f"native.names = {str(path)!r} cannot be read: {error.strerror or error}; "
            "`paribus verify … --propose-names` prints one"
        ) from error
    if len(content) > LARGEST:
        raise SpecError(f"{path} is larger than 16 MiB; a table of names is not")
    try:
        tree = json.loads(content)
        # Half of a surrogate pair can stand in no message; this refuses it.
        json.dumps(tree, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{path} is not valid JSON: {error}") from error
    return parse(tree, str(path))


def parse(tree: Any, label: str) -> Names:
    """Return the names that a JSON value says.

    Raises:
        SpecError: it is not shaped as the module's docstring says; it begins with ``label``.
    """
    if not isinstance(tree, dict) or not isinstance(tree.get(REFERENCE), str):
        raise SpecError(
            f"{label}: a table of names is an object with {REFERENCE!r}, the backend whose names "
            "are canonical, and a table for each other backend"
        )
    tables = {}
    for backend, table in tree.items():
        if backend == REFERENCE:
            continue
        if not isinstance(table, dict):
            raise SpecError(f"{label}: {backend} is no table of names")
        tables[backend] = {
            name: tuple(
                _entry(part, f"{label}: {backend}: {name}")
                for part in (entry if isinstance(entry, list) and entry else [entry])
            )
            for name, entry in table.items()
        }
    return Names(str(tree[REFERENCE]), tables)


def _entry(value: Any, where: str) -> Entry:
    if isinstance(value, str):
        return Entry(value)
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise SpecError(
            f"{where}: allowed: the tensor's name, a table with the keys {', '.join(KEYS)}, or a "
            "list of these"
        )
    unknown = [key for key in value if key not in KEYS]
    if unknown:
        raise SpecError(f"{where}: unknown key {unknown[0]!r}; allowed: {', '.join(KEYS)}")
    return Entry(value["name"], *(_numbers(value.get(key), f"{where}: {key}") for key in KEYS[1:]))


def _numbers(value: Any, where: str) -> tuple[int, ...] | None:
    if value is None:
        return None
    whole = isinstance(value, list) and all(
        isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in value
    )
    if not whole:
        raise SpecError(f"{where} = {value!r}: allowed: a list of whole numbers from 0")
    return tuple(value)


def dumps(reference: str, shapes: Mapping[str, Shape], tables: Mapping[str, Table]) -> str:
    """Return resolved tables as JSON text that ``read`` takes; a tensor a line."""
    blocks = [f" {json.dumps(REFERENCE)}: {json.dumps(reference)}"]
    for backend, table in tables.items():
        lines = [
            f"  {json.dumps(name)}: {json.dumps(_written(parts, shapes[name]))}"
            for name, parts in table.items()
        ]
        blocks.append(f" {json.dumps(backend)}: {{\n" + ",\n".join(lines) + "\n }")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def _written(parts: tuple[Part, ...], shape: Shape) -> Any:
    found = [_one(part) for part in parts]
    if follows(tuple(Entry(p.name, p.axes, p.view) for p in parts), parts) != shape:
        first = found[0] if isinstance(found[0], dict) else {"name": found[0]}
        found[0] = {**first, "shape": list(shape)}
    return found[0] if len(found) == 1 else found


def _one(part: Part) -> Any:
    if part.axes is None and part.view is None:
        return part.name
    view = {} if part.view is None else {"view": list(part.view)}
    return {"name": part.name, **view, "axes": list(part.axes or range(len(part.shape)))}


def follows(entries: tuple[Entry, ...], parts: tuple[Part, ...]) -> Shape | None:
    """Return the canonical shape that entries and native shapes imply; None where they do not."""
    if entries[0].shape is not None:
        return entries[0].shape
    shapes = []
    for entry, part in zip(entries, parts, strict=True):
        axes = tuple(range(len(part.shape))) if entry.axes is None else entry.axes
        if entry.view is not None or sorted(axes) != list(range(len(part.shape))):
            return None
        places = sorted(range(len(axes)), key=axes.__getitem__)
        shapes.append(tuple(part.shape[place] for place in places))
    if len(shapes) == 1:
        return shapes[0]
    if len({shape[1:] for shape in shapes}) != 1 or not shapes[0]:
        return None
    return (sum(shape[0] for shape in shapes), *shapes[0][1:])
