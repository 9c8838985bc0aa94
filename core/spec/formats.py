"""TOML, YAML and JSON text into one tree, with an error that has a line and a column.

A spec is written by people, so what a format does silently to them is refused: a key given twice
(JSON and YAML keep the last one), YAML's tags, anchors and aliases (code and exponential growth),
more than one document. YAML scalars are read by YAML 1.2's core rules: PyYAML's own are of 1.1,
where ``1e-3`` is a string and ``no`` is a boolean.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paribus.errors import SpecError, nearest
from paribus.spec.tree import DEEPEST, Tree, plain

LARGEST = 2**20
# PyYAML takes twenty seconds for a mebibyte.
LARGEST_YAML = 2**18
# A key of so many parts is none; each costs tomllib as much as all before it.
_DOTTED = re.compile(r"(?<![\w.\"'-])(?:(?:[\w-]++|\"[^\"\n]*+\"|'[^'\n]*+')[ \t]*+\.[ \t]*+){64}")


def read(path: Path) -> Tree:
    """Read the file of a spec; the suffix says the format.

    Raises:
        SpecError: no such file, not a file, unreadable, larger than 1 MiB, not UTF-8, an unknown
            suffix, a syntax error (with line and column), or not a table.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS and not _is_folder(path):
        allowed = ", ".join(FORMATS)
        raise SpecError(
            f"{path}: a spec's file name ends in one of {allowed}, not in {suffix!r}."
            f"{nearest(suffix, FORMATS)}"
        )
    return parse(_text(path), suffix, str(path))


def parse(text: str, suffix: str, label: str) -> Tree:
    """Parse text in the format of ``suffix`` (``.toml``, ``.yaml``, ``.yml``, ``.json``).

    Raises:
        SpecError: a syntax error, or the text is not a table; it begins with ``label``.
    """
    try:
        value = plain(FORMATS[suffix](text))
    except SpecError as error:
        raise SpecError(f"{label}: {error}") from error
    except RecursionError as error:
        raise SpecError(f"{label}: nested too deeply; a spec has a few levels") from error
    except ValueError as error:
        raise SpecError(f"{label}: not readable as {suffix[1:].upper()}: {error}") from error
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SpecError(
            f"{label}: a spec is a table of keys and values, but this is a {type(value).__name__}"
        )
    return value


def _text(path: Path) -> str:
    try:
        if path.is_dir():
            raise SpecError(
                f"{path} is a folder; give the spec's file, such as {path / 'spec.toml'}"
            )
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError as error:
        raise SpecError(f"{path}: no such file.{_neighbor(path)}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SpecError(f"{path} cannot be read: {reason}") from error
    if len(content) > LARGEST:
        raise SpecError(f"{path} is larger than 1 MiB; a spec is a few kilobytes of text")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SpecError(f"{path}: line {line} is not UTF-8 text; save the file as UTF-8") from error


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _neighbor(path: Path) -> str:
    try:
        names = [p.name for p in path.parent.iterdir() if p.suffix.lower() in FORMATS]
    except OSError:
        return f" The folder {path.parent} does not exist either."
    return nearest(path.name, names) or " 'paribus init' writes a starter spec."


def _toml(text: str) -> Any:
    if found := _DOTTED.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise SpecError(f"nested deeper than {DEEPEST} levels (at line {line}); a spec is not")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"not valid TOML: {error}") from error


def _json(text: str) -> Any:
    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in pairs:
            if key in result:
                raise SpecError(f"the key {key!r} is given twice in one table")
            result[key] = value
        return result

    try:
        return json.loads(text, object_pairs_hook=table)
    except json.JSONDecodeError as error:
        where = f"(at line {error.lineno}, column {error.colno})"
        raise SpecError(f"not valid JSON: {error.msg} {where}") from error


def _yaml(text: str) -> Any:
    # imported here: a TOML spec, the usual one, need not wait for it
    import yaml

    if len(text) > LARGEST_YAML:
        raise SpecError("larger than 256 KiB of YAML; a spec is a few kilobytes of text")

    class Core(yaml.SafeLoader):
        """PyYAML's safe loader with the scalars of YAML 1.2's core schema."""

        yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    for tag, pattern, first in _SCALARS:
        Core.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))
    try:
        _refuse(text, Core, yaml)
        node = yaml.compose(text, Loader=Core)
        return None if node is None else _value(node, yaml)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" (at {_place(mark)})" if mark else ""
        raise SpecError(f"not valid YAML: {error.problem or error.context}{where}") from error
    except yaml.YAMLError as error:
        raise SpecError(f"not valid YAML: {' '.join(str(error).split())}") from error


_SCALARS = (
    ("null", r"^(?:~|null|Null|NULL|)$", "~nN\0"),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", "-+."),
)


def _refuse(text: str, loader: Any, yaml: Any) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        mark = event.start_mark
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:  # PyYAML's time grows with the square of the depth
            raise SpecError(f"nested deeper than {DEEPEST} levels (at {_place(mark)})")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise SpecError(
                f"anchors and aliases are not allowed (at {_place(mark)}); write it out"
            )
        if getattr(event, "tag", None):
            raise SpecError(f"the tag {event.tag!r} is not allowed (at {_place(mark)})")


def _value(node: Any, yaml: Any) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, yaml) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        table: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise SpecError(f"a key must be a string (at {_place(key_node.start_mark)})")
            key = _scalar(key_node)
            if key in table:
                place = _place(key_node.start_mark)
                raise SpecError(f"the key {key!r} is given twice in one table (at {place})")
            table[key] = _value(value_node, yaml)
        return table
    return _scalar(node)


def _scalar(node: Any) -> Any:
    convert: dict[str, Callable[[str], Any]] = {
        "null": lambda text: None,
        "bool": lambda text: text.lower() == "true",
        "int": int,
        "float": lambda text: float(text.replace(".inf", "inf").replace(".nan", "nan")),
    }
    kind = node.tag.rpartition(":")[2]
    return convert[kind](node.value.lower()) if kind in convert else node.value


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


FORMATS: dict[str, Callable[[str], Any]] = {
    ".toml": _toml,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".json": _json,
}
