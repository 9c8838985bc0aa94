"""What a spec is before it is validated: tables, lists and plain values, and the paths into them.

Three file formats, Python mappings and ``--set`` all end in the same tree, so that merging,
validation and error messages are written once. A tree is small and harmless by construction: it
has a greatest depth, its keys are strings, its integers have 64 bits, its numbers are finite and
its strings can be encoded. Whatever walks a tree later may rely on that.

A path is a tuple of keys and list indices. People read and write it as
``select.candidates[1].model.hidden[0]``; a key with other characters is quoted as in TOML,
``optimize.search."finetune.epochs"``. An index may also stand behind a dot: ``candidates.1``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from math import isfinite
from numbers import Integral, Real
from os import PathLike, fspath
from typing import Any

from pydantic import BaseModel

from paribus.errors import SpecError

Tree = dict[str, Any]
Path = tuple[str | int, ...]

DEEPEST = 24
SHOWN = 60

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SEGMENT = re.compile(
    r"""(?P<dot>\.)?(?:(?P<bare>[A-Za-z0-9_-]+)|(?P<quoted>"(?:[^"\\]|\\.)*")"""
    r"""|'(?P<literal>[^']*)'|\[(?P<index>[0-9]{1,9})\])"""
)


def plain(value: Any, path: Path = ()) -> Any:
    """Return ``value`` copied into dictionaries, lists, strings, numbers, booleans and None.

    Mappings, sequences, paths, validated sections and NumPy scalars are taken as what they say.

    Raises:
        SpecError: too deep, a key that is no string, a number that is not finite or not of 64
            bits, a string that is no Unicode text, or a value of another type.
    """
    if len(path) > DEEPEST:
        raise SpecError(f"{show(path[:4])}…: nested deeper than {DEEPEST} levels; a spec is not")
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, Mapping):
        return {_key(key, path): plain(item, (*path, key)) for key, item in value.items()}
    if isinstance(value, PathLike):
        value = fspath(value)
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [plain(item, (*path, index)) for index, item in enumerate(value)]
    return _leaf(value, path)


def _key(key: Any, path: Path) -> str:
    if not isinstance(key, str):
        where = f" in {show(path)}" if path else ""
        raise SpecError(f"key {quote(key)}{where} is no string; put it in quotation marks")
    return _text(key, path)


def _text(value: str, path: Path) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise SpecError(
            f"{show(path)} = {quote(value)}: half of a surrogate pair; give whole characters"
        ) from error
    return str(value)


def _leaf(value: Any, path: Path) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        if not -(2**63) <= int(value) < 2**63:
            raise SpecError(
                f"{show(path)}: an integer of more than 64 bits; no setting is so large"
            )
        return int(value)
    if isinstance(value, Real):
        if not isfinite(value):
            raise SpecError(f"{show(path)} = {float(value)}: numbers must be finite")
        return float(value)
    raise SpecError(
        f"{show(path)} = {quote(value)}: a {type(value).__name__}; allowed: tables, lists, "
        "strings, numbers, true and false"
    )


def show(path: Path) -> str:
    """Return a path as people write it; ``spec`` for the empty one."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False)
            text += f".{name}" if text else name
    return text or "spec"


def quote(value: Any) -> str:
    """Return ``repr(value)``, booleans and None as spec files write them, shortened."""
    words = {True: "true", False: "false", None: "null"}
    if value is None or isinstance(value, bool):
        return words[value]
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def parse(text: str) -> Path:
    """Return the path that ``text`` writes; the inverse of ``show``.

    A segment of digits is an index where the tree has a list and a key where it has a table; that
    is for whoever follows the path to decide, so it is returned as a string.

    Raises:
        SpecError: an empty segment, or a character that needs quotation marks.
    """
    path: list[str | int] = []
    position = 0
    while position < len(text) or not path:
        match = _SEGMENT.match(text, position)
        if match is None or (match["index"] is None and bool(match["dot"]) != bool(path)):
            raise SpecError(
                f"{text!r} is not the path of a key (character {position + 1}); "
                "write it like finetune.optimizer.learning_rate or select.candidates[0].name"
            )
        path.append(_part(match))
        position = match.end()
    return tuple(path)


def _part(match: re.Match[str]) -> str | int:
    if match["index"] is not None:
        return int(match["index"])
    if match["quoted"] is not None:
        try:
            return str(json.loads(match["quoted"]))
        except ValueError as error:
            raise SpecError(f"{match['quoted']} is not a quoted key: {error}") from error
    return str(match["bare"] if match["bare"] is not None else match["literal"])
