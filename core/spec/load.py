"""``load``: from a file or a mapping to a validated spec.

What is given later wins: the source, then ``overrides`` (``--set`` on the command line), then
keyword arguments. All problems of a spec are reported at once, including those that a candidate
or a trial would only meet hours later.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from paribus.errors import SpecError
from paribus.spec import tree as paths
from paribus.spec.checkpoint import KEY, with_checkpoint
from paribus.spec.dump import tree_of
from paribus.spec.formats import read
from paribus.spec.merge import merge, ordered, set_path
from paribus.spec.native import with_folder
from paribus.spec.prepare import attempt, prepared
from paribus.spec.problems import refuse
from paribus.spec.sections import Spec
from paribus.spec.tree import Tree, plain, quote
from paribus.spec.variants import check


def load(
    source: str | Path | Mapping[str, Any] | Spec, overrides: Sequence[str] = (), **values: Any
) -> Spec:
    """Return the validated spec of a file or mapping.

    Args:
        source: a ``.toml``, ``.yaml``, ``.yml`` or ``.json`` file, the same as a mapping, or a
            spec to change.
        overrides: ``a.b.c=value``; the value is read as TOML, else taken as the string it is.
            List indices count from 0: ``select.candidates.0.name=small``. A key that decides about
            others (``finetune.optimizer.name``) is set before them, whatever their order here.
        values: sections or keys of the top level, merged in last; None means not given.

    Raises:
        SpecError: unreadable, not valid syntax, or invalid; it lists every problem.
    """
    label, tree = _source(source)
    given = {key: value for key, value in values.items() if value is not None}
    named = [o for o in overrides if o.partition("=")[0].strip() == KEY]
    # What a checkpoint brings lies under everything else, whoever names it.
    tree = with_checkpoint(_overridden(tree, named) | {k: v for k, v in given.items() if k == KEY})
    tree = _overridden(prepared(tree), overrides)
    tree = with_folder(merge(tree, plain(given)), _folder(source))
    spec, problems = attempt(prepared(tree))
    if spec is not None:
        problems = check(spec)
    if spec is None or problems:
        raise refuse(label, problems)
    return spec


def _folder(source: Any) -> Path | None:
    return Path(source).parent if isinstance(source, str | Path) else None


def _source(source: Any) -> tuple[str, Tree]:
    if isinstance(source, Spec):
        return source.name, tree_of(source)
    if isinstance(source, Mapping):
        return "spec", plain(source)
    if isinstance(source, (str, Path)):
        return str(source), read(Path(source))
    raise SpecError(
        f"a spec is loaded from a path or a mapping, not from {quote(source)}, "
        f"a {type(source).__name__}"
    )


def _overridden(tree: Tree, overrides: Sequence[str]) -> Tree:
    parsed: dict[paths.Path, tuple[str, Any]] = {}
    for override in overrides:
        path, value = parse_override(override)
        parsed.pop(path, None)
        parsed[path] = override, value
    for path in ordered(parsed):
        override, value = parsed[path]
        try:
            tree = set_path(tree, path, value)
        except SpecError as error:
            raise SpecError(f"--set {override}: {error}") from error
    return tree


def parse_override(text: str) -> tuple[paths.Path, Any]:
    """Return the path and the value of ``a.b.c=value``.

    Raises:
        SpecError: there is no ``=``, the path cannot be read, or the value is not one of a spec.
    """
    key, equals, raw = text.partition("=")
    if not equals or not key.strip():
        raise SpecError(f"--set {text}: write key=value, such as finetune.epochs=3")
    try:
        path = paths.parse(key.strip())
        return path, plain(_value(raw.strip()), path)
    except SpecError as error:
        raise SpecError(f"--set {text}: {error}") from error


def _value(raw: str) -> Any:
    try:
        table = tomllib.loads(f"value = {raw}")
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        return raw
    value = table.get("value")
    # a date, or a line break that begins another key, is meant as text
    plain_toml = (str, bool, int, float, list, dict)
    return value if len(table) == 1 and isinstance(value, plain_toml) else raw
