"""JSON that anybody may have written: read one value at a time, each for what it must be.

A value of the wrong type, or one that would change the arithmetic and that paribus cannot honour,
is refused with the file and the key. Values that nobody asks for are left alone.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from paribus.errors import WeightsError, nearest

# A configuration that names 20,000 classes has 2 MB, the index of a thousand shards 10.
LARGEST = 16 * 2**20
LONGEST_NAME = 1000
LARGEST_SIZE = 2**31 - 1
LARGEST_NUMBER = sys.float_info.max

_HALF = re.compile(r"\\u[dD][89a-fA-F]")

Value = TypeVar("Value")


class Fields:
    """The object in a JSON file, or one inside of it."""

    def __init__(self, values: Mapping[str, Any], file: Path, prefix: str = "") -> None:
        self.values, self.file, self._prefix = values, file, prefix

    def __contains__(self, key: str) -> bool:
        """Return whether the key is there and not null."""
        return self.values.get(key) is not None

    def integer(self, key: str, default: int | None = None, *, high: int = LARGEST_SIZE) -> int:
        """Return a whole number from 1 to ``high``; without a default the key must be there."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= high:
            raise self.wrong(key, f"a whole number from 1 to {high}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """Return a finite number; without a default the key must be there."""
        value = self._value(key, default)
        if not _is_number(value):
            raise self.wrong(key, "a finite number")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """Return a string; without a default the key must be there."""
        value = self._value(key, default)
        if not isinstance(value, str) or len(value) > LONGEST_NAME:
            raise self.wrong(key, f"a text of at most {LONGEST_NAME} characters")
        return value

    def texts(self, key: str) -> list[str]:
        """Return a list of strings; an absent one is empty."""
        value = self._value(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(key, "a list of texts")
        return value

    def integers(self, key: str, *, high: int = LARGEST_SIZE) -> tuple[int, ...]:
        """Return a list of whole numbers from 1 to ``high``."""
        value = self._value(key, None)
        if not isinstance(value, list) or not all(
            isinstance(item, int) and not isinstance(item, bool) and 1 <= item <= high
            for item in value
        ):
            raise self.wrong(key, f"a list of whole numbers from 1 to {high}")
        return tuple(value)

    def numbers(self, key: str, default: tuple[float, ...]) -> tuple[float, ...]:
        """Return a list of finite numbers, or one number as a list of it."""
        value = self._value(key, list(default))
        found = value if isinstance(value, list) else [value]
        if not found or not all(_is_number(item) for item in found):
            raise self.wrong(key, "a finite number or a list of them")
        return tuple(float(item) for item in found)

    def only(self, key: str, allowed: Mapping[Any, Value], default: Any) -> Value:
        """Return what an allowed value stands for.

        Raises:
            WeightsError: any other value; it says which one, and which are allowed.
        """
        value = self.values.get(key, default)
        # true is 1 for a dictionary, and a list cannot be looked up at all.
        known = {(type(choice), choice): meant for choice, meant in allowed.items()}
        if isinstance(value, str | bool | int | float | None) and (type(value), value) in known:
            return known[type(value), value]
        names = [str(choice) for choice in allowed]
        raise WeightsError(
            f"{self.file}: {self._prefix}{key} = {_shown(value)} is not supported; allowed: "
            f"{', '.join(map(_shown, allowed))}.{nearest(str(value)[:LONGEST_NAME], names)}"
        )

    def inner(self, key: str) -> Fields:
        """Return the object under a key; an absent one is empty."""
        value = self._value(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, "an object")
        return Fields(value, self.file, f"{self._prefix}{key}.")

    def wrong(self, key: str, expected: str) -> WeightsError:
        """Return the error of a value that is not what was expected."""
        if key not in self.values:
            return WeightsError(f"{self.file}: {self._prefix}{key} is missing; expected {expected}")
        return WeightsError(
            f"{self.file}: {self._prefix}{key} = {_shown(self.values[key])}; expected {expected}"
        )

    def _value(self, key: str, default: Any) -> Any:
        value = self.values.get(key)
        return default if value is None else value


def parse(text: str, file: Path) -> Any:
    """Return the value of a JSON text.

    Raises:
        WeightsError: it is not JSON, names a key twice, or holds a number that JSON has not.
    """
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
        if _HALF.search(text):
            # Half of a surrogate pair can stand in no file and no message; this refuses it.
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeEncodeError as error:
        raise WeightsError(f"{file} is not readable JSON: it has half of a character") from error
    except (ValueError, RecursionError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise WeightsError(f"{file} is not readable JSON: {said}") from error


def read_fields(file: Path) -> Fields:
    """Read a JSON file whose value is an object.

    Raises:
        WeightsError: it is too large, unreadable, or something else.
    """
    value = read_json(file)
    if not isinstance(value, dict):
        raise WeightsError(f"{file}: expected a JSON object, received a {type(value).__name__}")
    return Fields(value, file)


def read_json(file: Path) -> Any:
    """Read a JSON file; see ``parse``."""
    try:
        size = file.stat().st_size
        if size > LARGEST:
            raise WeightsError(f"{file} has {size:,} bytes; allowed: up to {LARGEST:,}")
        return parse(file.read_text("utf-8"), file)
    except (OSError, UnicodeError) as error:
        raise WeightsError(f"{file} cannot be read: {error}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name in counts if counts[name] > 1)
        raise ValueError(f"{twice[:200]!r} is there twice")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _is_number(value: Any) -> bool:
    # A whole number of any length can be written down, but not computed with.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= LARGEST_NUMBER


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}…"
