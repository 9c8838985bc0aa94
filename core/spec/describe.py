"""What the schema allows at a place of the spec, in words.

The JSON Schema that pydantic derives from the sections is the one description of keys, types and
ranges; error messages are read off it, so they can never say something else than the validation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from paribus.spec.sections import Spec
from paribus.spec.tree import Path, quote

Node = Mapping[str, Any]
MOST_KEYS = 24


@cache
def root() -> Node:
    """Return the schema of a whole spec, with its definitions; made on the first error."""
    return Spec.model_json_schema()


def resolve(node: Node) -> Node:
    """Follow ``$ref``; what stands beside it (description, default) wins."""
    if "$ref" not in node:
        return node
    target = root()["$defs"][node["$ref"].rpartition("/")[2]]
    return {**resolve(target), **{key: value for key, value in node.items() if key != "$ref"}}


def members(node: Node) -> list[Node]:
    """Return the alternatives of a union without null, or the node alone."""
    node = resolve(node)
    found = [m for kind in ("anyOf", "oneOf") for m in node.get(kind, ()) if not is_null(m)]
    if not found:
        return [node]
    return [inner for member in found for inner in members(member)]


def is_null(node: Node) -> bool:
    """Whether the node allows null and nothing else."""
    return node.get("type") == "null"


def optional(node: Node) -> bool:
    """Whether no value is allowed, too."""
    return any(is_null(member) for member in resolve(node).get("anyOf", ()))


def discriminator(node: Node) -> str | None:
    """Return the key that says which table of a union this is."""
    for candidate in (resolve(node), *map(resolve, resolve(node).get("anyOf", ()))):
        if "discriminator" in candidate:
            return str(candidate["discriminator"]["propertyName"])
    return None


def member(node: Node, tag: str) -> Node:
    """Return the table of a discriminated union whose discriminator says ``tag``, else empty."""
    for candidate in (resolve(node), *map(resolve, resolve(node).get("anyOf", ()))):
        mapping = candidate.get("discriminator", {}).get("mapping", {})
        if tag in mapping:
            return resolve({"$ref": mapping[tag]})
    return {}


def child(node: Node, part: str | int) -> Node | None:
    """Return the schema of a key or an index, or None where the node has none."""
    for candidate in members(node):
        if isinstance(part, str):
            if part in candidate.get("properties", ()):
                return resolve(candidate["properties"][part])
            extra = candidate.get("additionalProperties")
            if isinstance(extra, Mapping):
                return resolve(extra)
        elif "prefixItems" in candidate:
            if part < len(candidate["prefixItems"]):
                return resolve(candidate["prefixItems"][part])
        elif "items" in candidate:
            return resolve(candidate["items"])
    return None


def at(path: Path) -> Node:
    """Return the schema of the value at ``path``, all alternatives open; else empty."""
    node: Node = root()
    for part in path:
        node = child(node, part) or {}
    return node


def keys(node: Node) -> list[str]:
    """Return the keys of a table, of all alternatives."""
    found = (key for candidate in members(node) for key in candidate.get("properties", ()))
    return list(dict.fromkeys(found))


def walk(node: Node, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every key of every table below ``node``."""
    for candidate in members(node):
        for key, value in candidate.get("properties", {}).items():
            yield (*path, key)
            yield from walk(value, (*path, key))


def places(name: str) -> list[Path]:
    """Return the paths of all keys called ``name``."""
    return list(_places().get(name, ()))


# Walked once: a spec may have ten thousand keys that are nowhere.
@cache
def _places() -> dict[str, dict[Path, None]]:
    found: dict[str, dict[Path, None]] = {}
    for path in walk(root()):
        found.setdefault(str(path[-1]), {})[path] = None
    return found


def choices(node: Node) -> list[Any]:
    """Return the literal values that the node allows."""
    found: list[Any] = []
    for candidate in members(node):
        found.extend(candidate.get("enum", ()))
        if "const" in candidate:
            found.append(candidate["const"])
    return found


def allowed(node: Node) -> str:
    """Return what is allowed, such as ``a whole number from 1 to 4096``."""
    if (key := discriminator(node)) is not None:
        names = [tag for m in members(node) for tag in choices(m["properties"][key])]
        return f"{listed(names)}, or a table with {key} = one of these"
    parts = members(node)
    if any(part.get("type") == "number" for part in parts):
        parts = [part for part in parts if part.get("type") != "integer"]
    words = list(dict.fromkeys(_one(candidate, node) for candidate in parts))
    if optional(node):
        words.append("'none'")
    return ", or ".join(words)


def _one(node: Node, outer: Node) -> str:
    if "enum" in node or "const" in node:
        return listed(choices(node))
    kind = node.get("type")
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _range(node)
    if kind == "boolean":
        return "true or false"
    if kind == "string":
        return _string(node, outer)
    if kind == "array":
        return _array(node)
    if names := keys(node):
        more = ", …" if node.get("additionalProperties") is True else ""
        return f"a table with the keys {enumerated(names)}{more}"
    return "a table" if kind == "object" else "any value"


def _range(node: Node) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    above, below = node.get("exclusiveMinimum"), node.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {_number(low)} to {_number(high)}"
    bounds = (("at least", low), ("above", above), ("at most", high), ("below", below))
    parts = [f"{word} {_number(bound)}" for word, bound in bounds if bound is not None]
    return f" {' and '.join(parts)}" if parts else ""


def _number(value: float) -> str:
    if value == 2**63:
        return "2**63"
    return str(int(value)) if value == int(value) else repr(value)


def _string(node: Node, outer: Node) -> str:
    if "pattern" not in node:
        return "text"
    description = node.get("description") or outer.get("description")
    if description:
        return str(description).rstrip(".")
    longest = f", at most {node['maxLength']} characters" if "maxLength" in node else ""
    return f"text that matches {node['pattern']}{longest}"


def _array(node: Node) -> str:
    if "prefixItems" in node:
        return f"a list of {len(node['prefixItems'])}: " + ", ".join(
            allowed(item) for item in node["prefixItems"]
        )
    low, high = node.get("minItems", 0), node.get("maxItems")
    size = " of " + (f"{low} to {high} values" if high is not None else "values")
    if high is None and low > 0:
        size = f" of at least {low} value{'s' if low > 1 else ''}"
    inner = node.get("items") or {}
    return f"a list{size}, each {allowed(inner)}" if inner else f"a list{size}"


def listed(values: list[Any]) -> str:
    """Return literal values, separated by commas."""
    return ", ".join(quote(value) for value in values)


def enumerated(names: list[str]) -> str:
    """Return names separated by commas, cut where there are too many."""
    more = ", …" if len(names) > MOST_KEYS else ""
    return ", ".join(names[:MOST_KEYS]) + more
