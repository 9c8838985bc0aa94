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
from paribus.runstate.changes import begun_steps, obstacle
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
        changes: what differs from the run's spec and was accepted, a sentence each.
    """

    path: Path
    checkpoint: Checkpoint | None
    damaged: tuple[str, ...]
    complete: bool
    changes: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path, spec: Spec, *, accept: bool = False) -> Opened:
        """Read what a run has left.

        Args:
            path: a run folder.
            spec: what is to go on, with absolute paths.
            accept: go on with another spec, where what has changed is still to come.

        Raises:
            RunFolderError: it is none, another process writes it, or all of its checkpoints are
                damaged.
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
        changes = _changes(theirs, experiment_tree(spec))
        if changes:
            _require_acceptable(path, changes, spec, found, accept=accept and not complete)
        return cls(path, found, tuple(damaged), complete, tuple(map(str, changes)))

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
                return RunFolder.reopen(self.path, rows, first=self._take_over), begun
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

    def _take_over(self) -> None:
        """Remove what is newer than the checkpoint, if the run is as it was when it was read."""
        store, begun = Store(self.path), self.checkpoint
        if is_complete(self.path) or (begun is not None and begun.number not in store.numbers):
            raise RunFolderError(
                f"{self.path} was gone on with by another process in the meantime; give the "
                "command again to go on from there"
            )
        store.forget_after(0 if begun is None else begun.number)


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


@dataclass(frozen=True)
class _Change:
    key: tuple[str | int, ...]
    now: Any
    then: Any

    def __str__(self) -> str:
        return f"{show(self.key)} = {quote(self.now)}, was {quote(self.then)}"


def difference(theirs: Spec, ours: Spec) -> list[str]:
    """Return what makes two specs different experiments, a sentence each."""
    return list(map(str, _changes(experiment_tree(theirs), experiment_tree(ours))))


def _changes(theirs: Tree, ours: Tree) -> list[_Change]:
    then, now = dict(_leaves(theirs)), dict(_leaves(ours))
    keys = [key for key in dict.fromkeys((*then, *now)) if then.get(key) != now.get(key)]
    return [_Change(key, now.get(key), then.get(key)) for key in keys if key not in PLACES]


def _require_acceptable(
    path: Path, changes: list[_Change], spec: Spec, found: Checkpoint | None, *, accept: bool
) -> None:
    """Require that a run may go on with another spec.

    Raises:
        SpecError: it may not, or nobody said that it should.
    """
    state = None if found is None else found.state
    ended = [] if state is None else [one.identity.labels for one in state.finished]
    left = [] if state is None or state.training is None else [state.training, *state.beside]
    begun = begun_steps(spec, [*ended, *(one.identity.labels for one in left)])
    epoch = max((one.place.epoch for one in left), default=None)
    why = {c: obstacle(c.key, c.now, c.then, spec, begun, epoch) for c in changes}
    if accept and not any(why.values()):
        return
    said = [f"{change} ({reason})" if accept and (reason := why[change]) else str(change)
            for change in changes if why[change] or not accept]  # fmt: skip
    way = "" if accept or any(why.values()) else "; --accept-changes goes on with this one"
    raise SpecError(
        f"{path} cannot go on with another spec; changed: {'; '.join(said[:12])}"
        + (f"; and {len(said) - 12} more" if len(said) > 12 else "")
        + f". Only {', '.join(FREE)} may change{way}. Its own spec is {path / SPEC}; --overwrite "
        "begins anew"
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
