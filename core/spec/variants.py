"""Candidates and trials: the same spec with a part of it changed, validated anew.

Only what ``VARIABLE`` names may differ. The data, its split and the seed stay equal for all, else
their results could not be compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from paribus.errors import ParibusError, SpecError
from paribus.spec.checkpoint import KEY, with_checkpoint
from paribus.spec.dump import tree_of
from paribus.spec.merge import DISCRIMINATORS, difference, merge, ordered, set_path
from paribus.spec.prepare import attempt, prepared
from paribus.spec.problems import nearest_key, refuse
from paribus.spec.sections import VARIABLE, Candidate, Range, Spec
from paribus.spec.tree import Path, Tree, parse, plain, quote, show


def variant(spec: Spec, patch: Mapping[str, Any], name: str = "") -> Spec:
    """Return the spec with a candidate's patch merged over it.

    Args:
        spec: what every candidate shares.
        patch: a partial spec, as in ``Candidate.patch``.
        name: the candidate's name, for errors.

    Raises:
        SpecError: the patch touches what must stay equal, or the result is invalid.
    """
    label = f"candidate {name!r}" if name else "variant"
    return _accepted(*_patched(spec, plain(patch), ()), label)


def assign(spec: Spec, values: Mapping[str, Any], label: str = "trial") -> Spec:
    """Return the spec with dotted keys set, such as ``finetune.optimizer.learning_rate``.

    What decides about other keys is set first: ``finetune.optimizer.name`` before its siblings.

    Raises:
        SpecError: a key touches what must stay equal, or the result is invalid.
    """
    return _accepted(*_assigned(spec, plain(values)), label)


def check(spec: Spec) -> list[str]:
    """Return a line for each problem of the spec's candidates and of its search space."""
    lines: list[str] = []
    bases = [spec]
    if spec.select is not None:
        candidates = []
        for index, candidate in enumerate(spec.select.candidates):
            path = ("select", "candidates", index)
            changed, found = _patched(spec, candidate.patch, path)
            lines.extend(f"{line} (candidate {candidate.name!r})" for line in found)
            candidates.append(changed)
        if "select" in spec.steps and not lines:
            bases = [changed for changed in candidates if changed is not None]
    if spec.optimize is not None and not lines:
        searched = chain.from_iterable(_search_problems(base) for base in bases)
        lines.extend(dict.fromkeys(searched))
    return lines


def _accepted(spec: Spec | None, lines: list[str], label: str) -> Spec:
    if spec is None:
        raise refuse(label, lines)
    return spec


def _base(spec: Spec) -> Tree:
    """Return the tree to change: one candidate is enough to be valid, and quick to validate."""
    if spec.select is not None:
        alone = spec.select.model_copy(update={"candidates": [Candidate(name="variant")]})
        spec = spec.model_copy(update={"select": alone})
    tree = tree_of(spec)
    if spec.pretrain.data is not None:
        # completed again afterwards, so that a change of [data] reaches it
        tree["pretrain"]["data"] = difference(tree["data"], tree["pretrain"]["data"])
    return tree


def _patched(spec: Spec, patch: Tree, prefix: Path) -> tuple[Spec | None, list[str]]:
    if lines := [line for path in _leaves(patch) if (line := _fixed(path, prefix))]:
        return None, list(dict.fromkeys(lines))
    try:
        patch = with_checkpoint(patch)
    except ParibusError as error:
        return None, [f"{show((*prefix, KEY))}: {error}"]
    return _validated(spec, merge(_base(spec), patch), prefix)


def _assigned(spec: Spec, values: Mapping[str, Any]) -> tuple[Spec | None, list[str]]:
    tree = _base(spec)
    try:
        paths = {parse(key): value for key, value in values.items()}
        if lines := [line for path in paths if (line := _fixed(path, ()))]:
            return None, lines
        for path in ordered(paths):
            tree = set_path(tree, path, paths[path])
    except SpecError as error:
        return None, [str(error)]
    return _validated(spec, tree, ())


def _validated(spec: Spec, tree: Tree, prefix: Path) -> tuple[Spec | None, list[str]]:
    changed, lines = attempt(prepared(tree), prefix)
    if changed is None:
        return None, lines
    return changed.model_copy(update={"select": spec.select}), []


def _leaves(tree: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the paths to compare with ``VARIABLE``: two keys are as deep as that goes."""
    if isinstance(tree, Mapping) and len(path) < 2 and (tree or not path):
        for key, value in tree.items():
            yield from _leaves(value, (*path, key))
    elif path:
        yield path


def _fixed(path: Path, prefix: Path) -> str | None:
    """Return what is wrong with changing ``path``; None where it may differ."""
    name = ".".join(str(part) for part in path[:2])
    if name in VARIABLE or str(path[0]) in VARIABLE:
        return None
    where, differ = show((*prefix, *path)), f"allowed to differ: {', '.join(VARIABLE)}"
    if path[0] not in Spec.model_fields:
        names = [key.partition(".")[0] for key in VARIABLE]
        return f"{where}: unknown key.{nearest_key(prefix, str(path[0]), names)} {differ}"
    return f"{where}: stays equal for all candidates and trials; {differ}"


def _search_problems(spec: Spec) -> Iterator[str]:
    """Try every choice and both ends of every range, under everything that decides about it."""
    search = spec.optimize.search if spec.optimize is not None else {}
    for key, space in search.items():
        for decided in _decisions(key, search):
            for value in _values(space):
                where = show(("optimize", "search", key))
                given = "".join(f" with {name} = {quote(v)}" for name, v in decided.items())
                _, lines = _assigned(spec, {**decided, key: value})
                yield from (f"{where}{given}: {line}" for line in lines)


def _decisions(key: str, search: Mapping[str, Any]) -> list[dict[str, Any]]:
    table, _, leaf = key.rpartition(".")
    name = DISCRIMINATORS.get(table.rpartition(".")[2])
    for decider in (table, f"{table}.{name}"):
        if name is not None and leaf != name and decider in search:
            return [{decider: value} for value in _values(search[decider])]
    return [{}]


def _values(space: Range | list[Any]) -> list[Any]:
    return [space.low, space.high] if isinstance(space, Range) else space
