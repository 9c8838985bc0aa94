"""From pydantic's list of errors to one message that a person can act on.

Pydantic reports where it was in its own types: the alternatives of a union stand in its locations
as if they were keys, and each alternative reports apart. Here a location is followed through the
schema to the key's path as it is written in the file, the alternatives become one line, and the
line says what was given, what is allowed and which key was probably meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from paribus.errors import SpecError, nearest
from paribus.spec import describe
from paribus.spec.tree import Path, quote, show

LISTED = 20


@dataclass(frozen=True)
class _Problem:
    """One of pydantic's errors, placed.

    ``node`` is the schema of the value and ``table`` of what holds it; empty where unknown.
    ``union`` is the outermost union of unlike values on the way (its path, schema and value),
    ``branch`` the alternative that reports; two branches of one union are one problem.
    """

    path: Path
    kind: str
    given: Any
    message: str
    node: describe.Node
    table: describe.Node
    union: tuple[Path, describe.Node, Any] | None = None
    branch: str = ""


def problems(error: ValidationError, tree: Any, prefix: Path = ()) -> list[str]:
    """Return a line for each problem, in the order of the spec's keys.

    Args:
        error: what validating ``tree`` as a ``Spec`` raised.
        tree: the plain tree that was validated.
        prefix: what to put before each path.
    """
    found = [_placed(dict(item), tree) for item in error.errors(include_url=False)]
    lines = [_line(problem, prefix) for problem in _one_per_union(found)]
    return list(dict.fromkeys(lines))


def refuse(label: str, lines: Sequence[str]) -> SpecError:
    """Return the one error that lists all problems."""
    head = f"{label}: {len(lines)} problem{'s' if len(lines) > 1 else ''}"
    more = [f"and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    return SpecError("\n  ".join((head, *lines[:LISTED], *more)))


def _placed(error: dict[str, Any], tree: Any) -> _Problem:
    node, table, value = describe.root(), describe.root(), tree
    path: Path = ()
    union: tuple[Path, describe.Node, Any] | None = None
    branch = ""
    location = list(error["loc"])
    while location:
        part = location.pop(0)
        if (key := describe.discriminator(node)) and _tagged(value, key, part):
            node = describe.member(node, str(part))
            continue
        if not key and len(describe.members(node)) > 1:
            if union is None:
                union, branch = (path, node, value), str(part)
            # the alternative's label is no key; whatever stands behind it is
            if not location:
                break
            part = location.pop(0)
        path, table = (*path, part), node
        node, value = describe.child(node, part) or {}, _inside(value, part)
    return _Problem(
        path, error["type"], error.get("input"), error["msg"], node, table, union, branch
    )


def _tagged(value: Any, key: str, part: Any) -> bool:
    return isinstance(value, dict) and value.get(key) == part


def _inside(value: Any, part: Any) -> Any:
    if isinstance(value, dict):
        return value.get(part)
    if isinstance(value, list) and isinstance(part, int) and part < len(value):
        return value[part]
    return None


def _one_per_union(found: list[_Problem]) -> list[_Problem]:
    """Keep, of a union's reports, the ones of the alternative that was meant, else one for all."""
    kept: list[_Problem] = []
    seen: set[Path] = set()
    for problem in found:
        if problem.union is None:
            kept.append(problem)
            continue
        path, node, value = problem.union
        if path not in seen:
            seen.add(path)
            group = [other for other in found if other.union and other.union[0] == path]
            meant = [p for p in group if p.path != path or p.kind == "value_error"]
            if len({p.branch for p in meant}) == 1:
                kept.extend(meant)
            else:
                kept.append(_Problem(path, "union", value, problem.message, node, {}))
    return kept


def _line(problem: _Problem, prefix: Path) -> str:
    path, node, name = problem.path, problem.node, show((*prefix, *problem.path))
    if problem.kind == "extra_forbidden":
        return _unknown(problem, prefix)
    if problem.kind == "missing" and isinstance(path[-1], int):
        whole = show((*prefix, *path[:-1]))
        return f"{whole} = {quote(problem.given)}: allowed: {describe.allowed(problem.table)}"
    if problem.kind == "missing":
        return f"{name}: missing; give {describe.allowed(node)}"
    if problem.kind in ("union_tag_invalid", "union_tag_not_found"):
        key = describe.discriminator(node) or "name"
        tags = [t for m in describe.members(node) for t in describe.choices(m["properties"][key])]
        table = problem.given if isinstance(problem.given, dict) else {}
        if key not in table:
            return f"{name} = {quote(problem.given)}: allowed: {describe.allowed(node)}"
        return _literal(show((*prefix, *path, key)), table[key], tags)
    if problem.kind == "value_error":
        message = problem.message.removeprefix("Value error, ")
        return f"{name}: {message}" if (*prefix, *path) else message
    if literals := describe.choices(node):
        return _literal(name, problem.given, literals, describe.allowed(node))
    return f"{name} = {quote(problem.given)}: allowed: {describe.allowed(node)}"


def _literal(name: str, given: Any, literals: list[Any], words: str = "") -> str:
    guess = nearest(given, map(str, literals)) if isinstance(given, str) else ""
    line = f"{name} = {quote(given)}: allowed: {words or describe.listed(literals)}"
    return f"{line}.{guess}" if guess else line


def _unknown(problem: _Problem, prefix: Path) -> str:
    *table, key = problem.path
    names = describe.keys(problem.table)
    guess = _owners(problem) or nearest_key((*prefix, *table), str(key), names)
    name, given = show((*prefix, *problem.path)), quote(problem.given)
    return f"{name} = {given}: unknown key.{guess} Allowed here: {describe.enumerated(names)}"


def _owners(problem: _Problem) -> str:
    """Return whose key it is, where another alternative of the same table has it."""
    node = describe.at(problem.path[:-1])
    name = describe.discriminator(node)
    key = problem.path[-1]
    owners = [
        tag
        for table in describe.members(node)
        if name is not None and key in table["properties"]
        for tag in describe.choices(table["properties"][name])
    ]
    return f" It belongs to {name} = {describe.listed(owners)}." if owners else ""


def nearest_key(table: Path, key: str, names: Sequence[str]) -> str:
    """Return ``" Did you mean 'a.b'?"``: a near key of this table, or that key of another one."""
    if match := get_close_matches(key, names, n=1, cutoff=0.6):
        return f" Did you mean {show((*table, match[0]))!r}?"
    elsewhere = [show(path) for path in describe.places(key)]
    return f" Did you mean {' or '.join(map(repr, elsewhere[:4]))}?" if elsewhere else ""
