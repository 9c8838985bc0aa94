"""Tensors under published names → canonical tensors, by a table of ``names``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from paribus.checkpoints.names import LEAVES, Names
from paribus.errors import WeightsError, listed

Array = npt.NDArray[Any]

# canonical name → (part, parts) → published name
Pieces = dict[str, dict[tuple[int, int], str]]


class Source(Protocol):
    """Opened tensors: their names, and one at a time."""

    @property
    def names(self) -> list[str]:
        """The names in the file."""

    def read(self, name: str) -> Array:
        """Return one tensor."""


def canonical(source: Source, names: Names, where: Path) -> dict[str, Array]:
    """Return canonical tensors, in the order of the file.

    Args:
        source: opened tensors under published names.
        names: how they are published.
        where: for messages.

    Raises:
        WeightsError: tensors that the table does not know, two of one canonical name, a piece that
            is missing, or a tied weight that is not.
    """
    pieces, aliases, unknown = _sorted(source.names, names, where)
    if unknown:
        raise WeightsError(
            f"{where}: tensors that no {names.classes[0]} of paribus has: {listed(unknown)}"
        )
    found: dict[str, Array] = {}
    for name, published in pieces.items():
        parts = [read for _, read in sorted(published.items())]
        wanted = next(iter(published))[1]
        if len(parts) != wanted:
            raise WeightsError(f"{where}: of {name}, only {listed(parts)} is there")
        arrays = [source.read(part) for part in parts]
        found[name] = arrays[0] if wanted == 1 else _joined(arrays, parts, where)
    for alias, name in aliases:
        again = source.read(alias)
        if name in found and not np.array_equal(found[name], again):
            raise WeightsError(
                f"{where}: {alias} is not equal to {name}, but the two are one tensor in this "
                "architecture; the checkpoint is of another one"
            )
        found.setdefault(name, again)
    return found


def _sorted(
    published: list[str], names: Names, where: Path
) -> tuple[Pieces, list[tuple[str, str]], list[str]]:
    """Sort published names into pieces of canonical tensors, aliases, and unknown ones."""
    pieces: Pieces = {}
    aliases: list[tuple[str, str]] = []
    unknown: list[str] = []
    known = dict(names.aliases)
    for name in published:
        if any(re.fullmatch(pattern, name) for pattern in names.dropped):
            continue
        if name in known:
            aliases.append((name, known[name]))
            continue
        for rule in names.rules:
            match = re.fullmatch(rule.published, name)
            if match:
                piece = pieces.setdefault(_filled(rule.canonical, match), {})
                place = (rule.part, rule.parts)
                if place in piece:
                    raise WeightsError(
                        f"{where}: {piece[place]} and {name} are the same tensor twice"
                    )
                piece[place] = name
                break
        else:
            unknown.append(name)
    return pieces, aliases, unknown


def _filled(template: str, match: re.Match[str]) -> str:
    """Return a canonical name; ``{stage+1}`` is a number that counts from 1 there."""
    groups = {name: LEAVES.get(value, value) for name, value in match.groupdict().items()}
    groups |= {f"{n}+1": str(int(value) + 1) for n, value in groups.items() if value.isdecimal()}
    return re.sub(r"\{([^}]+)\}", lambda found: groups[found[1]], template)


def _joined(arrays: list[Array], names: list[str], where: Path) -> Array:
    try:
        return np.concatenate(arrays)
    except ValueError as error:
        shapes = ", ".join(f"{n} {a.shape}" for n, a in zip(names, arrays, strict=True))
        raise WeightsError(
            f"{where}: pieces of one tensor do not fit together: {shapes}"
        ) from error
