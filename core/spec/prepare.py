"""From a tree as people write it to a validated ``Spec``: defaults that depend on other keys.

Pydantic sees the tree last and strictly: ``true`` is no number and ``"3"`` no integer, whatever a
library could make of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from paribus.spec.merge import DISCRIMINATORS, NONE, expanded, merge_data, written
from paribus.spec.problems import problems
from paribus.spec.sections import STEPS, Spec
from paribus.spec.tree import Path, Tree


def prepared(tree: Mapping[str, Any]) -> Tree:
    """Return ``tree`` with shorthand written out and every table saying what it is.

    A model, optimizer or schedule that does not say which one it is, is the default one; a step's
    section that is ``"none"`` is absent; nulls in candidates and choices become ``"none"``.
    """
    result = expanded(tree)
    for step in STEPS:
        if step in result and result[step] in (None, NONE):
            del result[step]
    for path, table in _discriminated(result):
        table.setdefault(DISCRIMINATORS[path[-1]], _default(path))
    for step, key in (("select", "candidates"), ("optimize", "search")):
        section = result.get(step)
        if isinstance(section, dict) and key in section:
            section[key] = written(section[key])
    return result


def with_data(tree: Tree) -> Tree:
    """Return ``tree`` with ``[pretrain.data]`` completed from ``[data]``."""
    pretrain, data = tree.get("pretrain"), tree.get("data", {})
    if not isinstance(pretrain, dict) or not isinstance(data, dict):
        return tree
    own = pretrain.get("data")
    if not isinstance(own, dict):
        return tree
    return {**tree, "pretrain": {**pretrain, "data": merge_data(data, own)}}


def attempt(tree: Tree, prefix: Path = ()) -> tuple[Spec | None, list[str]]:
    """Validate a prepared tree; return the spec, or None and a line for each problem."""
    complete = with_data(tree)
    try:
        return Spec.model_validate(complete, strict=True), []
    except ValidationError as error:
        return None, problems(error, complete, prefix)


def _discriminated(tree: Tree) -> Iterator[tuple[tuple[str, ...], Tree]]:
    for parent in ((), ("pretrain",), ("finetune",)):
        table = tree.get(parent[0]) if parent else tree
        for key in DISCRIMINATORS:
            if isinstance(table, dict) and isinstance(table.get(key), dict):
                yield (*parent, key), table[key]


def _default(path: tuple[str, ...]) -> str:
    value: Any = Spec
    for key in path:
        value = type(value) if not isinstance(value, type) else value
        value = value.model_fields[key].default if key in value.model_fields else None
        if value is None:
            return ""
    return str(getattr(value, DISCRIMINATORS[path[-1]]))
