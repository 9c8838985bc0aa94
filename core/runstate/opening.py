"""Opening a run to go on with it: what must be as it was is checked before a file is touched."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from paribus.errors import DataError, RunFolderError, SpecError, listed
from paribus.runfolder import METRICS, SPEC, RunFolder, own_file, read_result
from paribus.runstate.records import Mark, Source
from paribus.runstate.store import Checkpoint, Damaged, Store, digest
from paribus.spec.dump import tree_of
from paribus.spec.load import load
from paribus.spec.sections import Spec
from paribus.spec.tree import Tree, quote, show
from paribus.steps.examples import Examples, step_data

# What may differ between the legs of a run. Where the data is may, too: its fingerprint may not.
FREE = ("backend", "device", "checkpoints", "batched_trainings", "cache")
PLACES = (("data", "path"), ("pretrain", "data", "path"))


@dataclass(frozen=True)
class Opened:
    """A run that is to go on.

    Attributes:
        path: its folder.
        checkpoint: the newest that can be used; None where none was written, so that the run
            begins at its beginning.
        damaged: what was wrong with newer ones.
        complete: whether nothing is left to do.
    """

    path: Path
    checkpoint: Checkpoint | None
    damaged: tuple[str, ...]
    complete: bool

    @classmethod
    def read(cls, path: Path, spec: Spec) -> Opened:
        """Read what a run has left.

        Args:
            path: a run folder.
            spec: what is to go on, with absolute paths.

        Raises:
            RunFolderError: it is none, or all of its checkpoints are damaged.
            SpecError: the run has another spec; it lists what differs.
        """
        complete = is_complete(path)
        store, damaged = Store(path), []
        found: Checkpoint | None = None
        for number in [] if complete else reversed(store.numbers):
            try:
                found = store.read(number)
                _require_rows(path, found.state.metrics)
                break
            except Damaged as error:
                found = None
                damaged.append(str(error))
        if damaged and found is None:
            raise RunFolderError(
                f"{path} cannot go on, because each of its checkpoints is damaged: "
                f"{listed(damaged)}. Run it anew with --overwrite"
            )
        theirs = experiment_tree(load(own_file(path, SPEC))) if found is None else found.state.spec
        _require_same_spec(path, theirs, experiment_tree(spec))
        return cls(path, found, tuple(damaged), complete)

    def require_data(self, data: Mapping[str, Source]) -> None:
        """Require that the steps' examples are those that the run began with.

        Raises:
            DataError: they are others.
        """
        then = {} if self.checkpoint is None else self.checkpoint.state.data
        for step, was in then.items():
            now = data.get(step)
            if now != was:
                section = "pretrain.data" if step == "pretrain" else "data"
                count = 0 if now is None else now.examples
                raise DataError(
                    f"the data of [{section}] has changed since {self.path} began: it had "
                    f"{was.examples} examples (fingerprint {was.fingerprint[:12]}…), and has "
                    f"{count} now ({'' if now is None else now.fingerprint[:12]}…); a run can only "
                    "go on with the same. Bring it back, or run it anew with --overwrite"
                )

    def folder(self, out: Path | None, *, overwrite: bool) -> tuple[RunFolder, Checkpoint | None]:
        """Return the folder to go on in, and the checkpoint in it.

        In place, what is newer than the checkpoint is cut off; in another one, everything that is
        needed is copied there first, and this run's stays as it is.

        Raises:
            RunFolderError: it cannot be written, or holds a run already.
        """
        begun = self.checkpoint
        rows = Mark(size=0, sha256=sha256().hexdigest()) if begun is None else begun.state.metrics
        try:
            if out is None or out.resolve() == self.path.resolve():
                Store(self.path).forget_after(0 if begun is None else begun.number)
                return RunFolder.reopen(self.path, rows), begun
            RunFolder.create(out, overwrite=overwrite).close()
            if begun is not None:
                store = Store(out)
                store.take(begun)
                begun = begun._replace(path=store.path / begun.path.name)
            return RunFolder.reopen(out, rows, self.path), begun
        except OSError as error:
            raise RunFolderError(
                f"{out or self.path} cannot be written: {error.strerror or error}; choose another "
                "place with --out"
            ) from error


def is_complete(path: Path) -> bool:
    """Return whether nothing is left to do of the run in a folder.

    Raises:
        RunFolderError: it is no run folder.
    """
    return read_result(path).get("status") == "complete"


def command(folder: Path, *, native: bool) -> str:
    """Return what is typed to go on with the run in ``folder``, which the user has just run.

    ``native``: whether its spec names the user's own models, so that it asks for consent.
    """
    words = ["paribus", "run", str(folder / SPEC), "--resume", str(folder)]
    return shlex.join([*words, *(["--trust-native"] if native else [])])


def experiment_tree(spec: Spec) -> Tree:
    """Return what makes two specs the same experiment, as JSON values."""
    tree: Tree = json.loads(json.dumps(tree_of(spec)))
    return {key: value for key, value in tree.items() if key not in FREE}


def sources(spec: Spec, examples: Examples) -> dict[str, Source]:
    """Return what tells the examples of a spec's steps from others."""
    recipes = {"select": spec.select, "optimize": spec.optimize}
    trained = [step if (s := recipes.get(step)) is None else s.step for step in spec.steps]
    found: dict[str, Source] = {}
    for step in dict.fromkeys(trained):
        dataset = examples.dataset(step_data(spec, step))
        found[step] = Source(fingerprint=dataset.fingerprint, examples=len(dataset))
    return found


def _require_rows(path: Path, rows: Mark) -> None:
    try:
        size = (path / METRICS).stat().st_size
        same = size >= rows.size and digest(path / METRICS, rows.size) == rows.sha256
    except OSError as error:
        raise Damaged(f"{path / METRICS} cannot be read: {error.strerror or error}") from error
    if not same:
        raise Damaged(f"{path / METRICS}: its first {rows.size:,} bytes are not what they were")


def _require_same_spec(path: Path, theirs: Tree, ours: Tree) -> None:
    then, now = dict(_leaves(theirs)), dict(_leaves(ours))
    changed = [key for key in dict.fromkeys((*then, *now)) if then.get(key) != now.get(key)]
    changed = [key for key in changed if key not in PLACES]
    if changed:
        lines = [f"{show(k)} = {quote(now.get(k))}, was {quote(then.get(k))}" for k in changed]
        raise SpecError(
            f"{path} cannot go on with another spec; changed: {'; '.join(lines[:12])}"
            + (f"; and {len(lines) - 12} more" if len(lines) > 12 else "")
            + f". Only {', '.join(FREE)} may change; its own spec is {path / SPEC}"
        )


def _leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """Yield the path and value of everything that is no table and no list; empty ones, too."""
    items: Any = None
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    if not value or items is None:
        yield path, value
        return
    for key, item in items:
        yield from _leaves(item, (*path, key))
