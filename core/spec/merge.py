"""One tree over another: how ``--set``, candidates, trials and ``[pretrain.data]`` change a spec.

Tables merge key by key, everything else is replaced. Two exceptions keep the result meaningful:

*   A table that says what it is (``architecture`` of a model, ``name`` of an optimizer or a
    schedule) is replaced whole when it becomes something else: an MLP's widths mean nothing to a
    ResNet. A bare string is short for such a table: ``optimizer = "adam"``.
*   Where ``source`` of a data table changes, what describes the old source (``ABOUT_SOURCE``) goes;
    the split, the decoding and the transforms stay, being a choice of the experiment.

``"none"`` stands for no value, because TOML has no null: it takes back what the base says. A null
of YAML or JSON becomes ``"none"`` on the way in (``written``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any

from paribus.errors import SpecError, nearest
from paribus.spec.tree import Path, Tree, quote, show

DISCRIMINATORS = {"model": "architecture", "optimizer": "name", "schedule": "name"}
SOURCE = "source"
ABOUT_SOURCE = ("path", "label", "classes", "limit", "groups")
NONE = "none"


def merge(base: Mapping[str, Any], patch: Mapping[str, Any]) -> Tree:
    """Return ``base`` with ``patch`` over it; neither is changed."""
    result = {key: deepcopy(value) for key, value in base.items()}
    for key, value in patch.items():
        result[key] = _merged(key, result.get(key), value)
    return result


def _merged(key: str, old: Any, new: Any) -> Any:
    old, new = expand(key, old), expand(key, new)
    if not isinstance(new, Mapping):
        return deepcopy(new)
    if not isinstance(old, Mapping) or _changes(DISCRIMINATORS.get(key), old, new):
        old = {}
    elif key == "data":
        old = _inherited(old, new)
    return merge(old, new)


def _inherited(old: Mapping[str, Any], new: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a data table takes over from another one."""
    if not _changes(SOURCE, old, new):
        return old
    return {name: value for name, value in old.items() if name not in ABOUT_SOURCE}


def _changes(name: str | None, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return name is not None and name in old and name in new and bool(old[name] != new[name])


def expand(key: str, value: Any) -> Any:
    """Write a bare string out as the table that it stands for."""
    if isinstance(value, str) and key in DISCRIMINATORS:
        return {DISCRIMINATORS[key]: value}
    return value


def expanded(tree: Mapping[str, Any]) -> Tree:
    """Return a copy of ``tree`` with every bare string written out (not inside of lists)."""
    result: Tree = {}
    for key, value in tree.items():
        table = expand(key, value)
        result[key] = expanded(table) if isinstance(table, Mapping) else deepcopy(table)
    return result


def written(value: Any) -> Any:
    """Return a copy of ``value`` that TOML can write: ``"none"`` for every None."""
    if isinstance(value, Mapping):
        return {key: written(item) for key, item in value.items()}
    if isinstance(value, list):
        return [written(item) for item in value]
    return NONE if value is None else value


def merge_data(base: Mapping[str, Any], patch: Mapping[str, Any]) -> Tree:
    """Return one data table over another."""
    result: Tree = _merged("data", base, patch)
    return result


def difference(base: Mapping[str, Any], other: Mapping[str, Any]) -> Tree:
    """Return the patch of data tables with ``merge_data(base, patch) == other``.

    Keys of ``base`` that ``other`` lacks are ``"none"`` in the patch.
    """
    base = _inherited(base, other)
    patch: Tree = {key: NONE for key in base if key not in other}
    for key, value in other.items():
        old = base.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            if inner := difference(old, value):
                patch[key] = inner
        elif key not in base or old != value or type(old) is not type(value):
            patch[key] = deepcopy(value)
    return patch


def get_path(tree: Any, path: Path) -> Any:
    """Return the value at ``path``.

    Raises:
        SpecError: there is no such key or index; it names the nearest key.
    """
    for depth, part in enumerate(path):
        tree = expand(str(path[depth - 1]), tree) if depth else tree
        if isinstance(tree, list):
            tree = tree[_index(tree, part, path[:depth])]
        elif not isinstance(tree, Mapping):
            raise _not_a_table(tree, part, path[:depth])
        elif part not in tree:
            here = show(path[:depth])
            raise SpecError(
                f"{show(path[: depth + 1])}: no such key in {here}."
                f"{nearest(str(part), tree)} Given there: {', '.join(tree) or 'nothing'}"
            )
        else:
            tree = tree[part]
    return tree


def set_path(tree: Mapping[str, Any], path: Path, value: Any) -> Tree:
    """Return ``tree`` with ``value`` merged in at ``path``; tables on the way are made.

    Raises:
        SpecError: the path leads through a plain value, or to an index that its list lacks.
    """
    patch = _nested(tree, path, value, 0)
    return merge(tree, patch) if isinstance(patch, dict) else {}


def _nested(tree: Any, path: Path, value: Any, depth: int) -> Any:
    if depth == len(path):
        return deepcopy(value)
    part, here = path[depth], path[:depth]
    tree = expand(str(path[depth - 1]), tree) if depth else tree
    if isinstance(tree, list):
        index = _index(tree, part, here)
        inner = _nested(tree[index], path, value, depth + 1)
        return [*tree[:index], _merged("", tree[index], inner), *tree[index + 1 :]]
    if isinstance(part, int):
        raise SpecError(
            f"{show(path[: depth + 1])}: {show(here)} is no list"
            if tree is not None
            else f"{show(path[: depth + 1])}: there is no list {show(here)} yet; give it as a whole"
        )
    if tree is not None and not isinstance(tree, Mapping) and not (depth and tree == NONE):
        raise _not_a_table(tree, part, here)
    inner_tree = tree.get(part) if isinstance(tree, Mapping) else None
    return {part: _nested(inner_tree, path, value, depth + 1)}


def _index(items: list[Any], part: str | int, here: Path) -> int:
    index = int(part) if isinstance(part, int) or (part.isascii() and part.isdigit()) else None
    if index is None or index >= len(items):
        allowed = f"0 to {len(items) - 1}" if items else "none, it is empty"
        raise SpecError(f"{show((*here, part))}: {show(here)} is a list; its indices: {allowed}")
    return index


def _not_a_table(value: Any, part: str | int, here: Path) -> SpecError:
    return SpecError(
        f"{show((*here, part))}: {show(here)} = {quote(value)} is a value and has no keys; "
        f"set {show(here)} itself"
    )


def ordered(paths: Iterable[Path]) -> list[Path]:
    """Sort paths for ``set_path``: what decides about others comes first.

    Shorter paths before longer ones, and the key that says what a table is before its other keys.
    """
    return sorted(paths, key=lambda path: len(path) - 0.5 * _decides(path))


def _decides(path: Path) -> bool:
    if len(path) < 2:
        return False
    table, key = path[-2:]
    return DISCRIMINATORS.get(str(table)) == key or (table == "data" and key == SOURCE)
