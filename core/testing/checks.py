"""The names of checks: ``group.check[case]``, the same for every backend and in every version.

``python -m paribus.testing.checks`` prints them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from types import FunctionType
from typing import Any

START = "paribus.testing.suite."


def name(function: Callable[..., Any], parameters: dict[str, Any]) -> str | None:
    """Return the name of a check; None for a test that is not the suite's.

    Of a check on a scene the group is the scene's, of any other the module that it stands in.

    Args:
        function: the test function.
        parameters: what it is parametrised with, by argument; one at most, a string.
    """
    home = getattr(function, "__module__", "")
    if not home.startswith(START) or not function.__name__.startswith("test_"):
        return None
    group, case = home.removeprefix(START), ""
    for argument, value in parameters.items():
        case = str(value)
        if argument == "scene":
            group, case = case.split("/")
    return f"{group}.{function.__name__.removeprefix('test_')}" + (f"[{case}]" if case else "")


def group(check: str) -> str:
    """Return what a check is about: its name up to the dot."""
    return check.partition(".")[0]


@cache
def names() -> tuple[str, ...]:
    """Return the name of every check, in the suite's order."""
    from paribus.testing import suite

    functions = [value for value in vars(suite).values() if isinstance(value, FunctionType)]
    found = [own for function in functions for own in _names(function)]
    return tuple(dict.fromkeys(found))


def _names(function: FunctionType) -> Iterator[str]:
    marks = [m for m in getattr(function, "pytestmark", []) if m.name == "parametrize"]
    cases: list[dict[str, Any]] = [
        {mark.args[0]: value} for mark in marks for value in mark.args[1]
    ]
    for parameters in cases or [{}]:
        found = name(function, parameters)
        if found is not None:
            yield found


if __name__ == "__main__":
    print(*names(), sep="\n")
