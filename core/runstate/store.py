"""Checkpoints on the disk: written so that no moment leaves half of one, read with distrust."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from paribus import durable, weights
from paribus.adapter import Array
from paribus.checkpoints import writing
from paribus.checkpoints.tensorfile import TensorFile
from paribus.runstate.reading import Damaged, bounded, canonical, digest, record, require
from paribus.runstate.records import Count, Hash, Record, State

CHECKPOINTS, MODELS, BEST = "checkpoints", "models", "best.safetensors"
MANIFEST, STATE, TENSORS = "manifest.json", "state.json", "tensors.safetensors"
KEPT = 2  # of which one is written while the other is the last good one
LARGEST_MANIFEST, LARGEST_STATE = 1 << 16, 1 << 28

_NUMBER = re.compile(r"[0-9]{6,12}")
_OURS = re.compile(r"[0-9]{6,12}(\.partial)?")
_MODEL = re.compile(r"[0-9a-f]{64}(\.safetensors)?(\.partial)*")
_BESTS = (BEST, f"{BEST}.partial")


class _File(Record):
    size: Count
    sha256: Hash


class _Manifest(Record):
    format: int
    files: dict[str, _File] = Field(max_length=2)


class Checkpoint(NamedTuple):
    """A checkpoint whose every file is as it was written."""

    number: int
    path: Path
    state: State


class Store:
    """The checkpoints of the run in ``folder``; the last ``keep`` of them stay.

    Attributes:
        path: their folder.
        needed: the number of one that stays besides; None for none.

    Raises (what writes):
        OSError: the disk is full, or the folder cannot be written.
    """

    def __init__(self, folder: Path, keep: int = KEPT) -> None:
        self.path = folder / CHECKPOINTS
        self.needed: int | None = None
        self._keep = keep

    @property
    def numbers(self) -> list[int]:
        """The numbers of all checkpoints that have their name, whatever is in them; ascending."""
        return sorted(int(path.name) for path in self._entries() if _NUMBER.fullmatch(path.name))

    @property
    def held(self) -> bool:
        """Whether there is anything of ours."""
        return any(_OURS.fullmatch(path.name) for path in self._entries()) or any(self._files())

    def write(self, state: State, tensors: Mapping[str, Array]) -> None:
        """Write a checkpoint, and let go of those before the last ones.

        The run's own folder has to be there: one that was removed is not made again.
        """
        self._make()
        number = max(self.numbers, default=0) + 1
        final = self.path / f"{number:06}"
        staged = self.path / f"{number:06}.partial"
        self._sweep()
        try:
            staged.mkdir()
            hashes = {}
            if tensors:
                hashes[TENSORS] = writing.write(staged / TENSORS, tensors, {})
            text = canonical(state.model_dump(mode="json")).encode()
            durable.create(staged / STATE, text)
            hashes[STATE] = sha256(text).hexdigest()
            files = {name: _File(size=(staged / name).stat().st_size, sha256=found).model_dump()
                     for name, found in hashes.items()}  # fmt: skip
            durable.create(staged / MANIFEST, canonical({"format": 1, "files": files}).encode())
            durable.replace(staged, final)
        except OSError:
            # What is left of it would take the room that the next one needs.
            shutil.rmtree(staged, ignore_errors=True)
            raise
        for old in self.numbers[: -self._keep]:
            if old != self.needed:
                self._remove(old)

    def save_model(self, tensors: Mapping[str, Array]) -> str:
        """Write a finished model under its hash, which is returned."""
        self._make()
        folder = self.path / MODELS
        durable.folder(folder)
        staged = folder / f"{weights.fingerprint(tensors)}.partial"
        try:
            name = writing.write(staged, tensors, {})
            durable.replace(staged, folder / f"{name}.safetensors")
        except OSError:
            durable.discard(staged)
            raise
        return name

    def save_best(self, tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
        """Write the best weights so far of the training under way, instead of those before."""
        self._make()
        weights.save(self.path / BEST, tensors, metadata)

    def model(self, name: str) -> TensorFile:
        """Open a finished model.

        Raises:
            WeightsError: it is not as it was written.
        """
        return TensorFile(self.path / MODELS / f"{name}.safetensors")

    def read(self, number: int) -> Checkpoint:
        """Read a checkpoint and every file that it needs.

        Raises:
            Damaged: a file is missing, cut off, altered, or not what it should be.
        """
        path = self.path / f"{number:06}"
        text = bounded(path / MANIFEST, LARGEST_MANIFEST).decode("utf-8", "replace")
        manifest = record(_Manifest, text, path / MANIFEST)
        if canonical(manifest.model_dump(mode="json")) != text or manifest.format != 1:
            raise Damaged(f"{path / MANIFEST} is not as it was written")
        if STATE not in manifest.files or not set(manifest.files) <= {STATE, TENSORS}:
            raise Damaged(f"{path / MANIFEST} names other files than a checkpoint has")
        for name, stated in manifest.files.items():
            require(path / name, stated.sha256, stated.size)
        raw = bounded(path / STATE, LARGEST_STATE)
        state = record(State, raw.decode("utf-8", "replace"), path / STATE)
        if (state.training is not None) != (TENSORS in manifest.files):
            raise Damaged(f"{path / STATE} and the files beside it do not belong together")
        for one in state.finished:
            if one.model is not None:
                require(self.path / MODELS / f"{one.model}.safetensors", one.model)
        return Checkpoint(number, path, state)

    def take(self, checkpoint: Checkpoint) -> None:
        """Copy another run's checkpoint, and the models that it needs, into this store."""
        self._make()
        durable.folder(self.path / MODELS)
        for one in checkpoint.state.finished:
            if one.model is not None:
                name = f"{one.model}.safetensors"
                _copy(checkpoint.path.parent / MODELS / name, self.path / MODELS / name)
        staged = self.path / f"{checkpoint.number:06}.partial"
        staged.mkdir()
        for name in (TENSORS, STATE, MANIFEST):
            if (checkpoint.path / name).exists():
                _copy(checkpoint.path / name, staged / name)
        durable.replace(staged, self.path / f"{checkpoint.number:06}")

    def forget_after(self, number: int) -> None:
        """Remove checkpoints that are newer than the one that the run goes on from."""
        for later in self.numbers:
            if later > number:
                self._remove(later)

    def clear(self) -> None:
        """Remove everything of ours; other people's files stay."""
        for path in list(self._entries()):
            if _OURS.fullmatch(path.name):
                shutil.rmtree(path)
        for path in list(self._files()):
            path.unlink()
        for folder in (self.path / MODELS, self.path):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def _sweep(self) -> None:
        """Remove what a process began to write, or to remove, when it ended; as far as it goes."""
        for path in list(self._entries()):
            if _OURS.fullmatch(path.name) and path.suffix:
                shutil.rmtree(path, ignore_errors=True)
        for path in list(self._files()):
            if path.suffix == ".partial":
                durable.discard(path)

    def _remove(self, number: int) -> None:
        """Take the name away first: what is half removed must not look like a checkpoint."""
        path = self.path / f"{number:06}"
        gone = path.with_name(f"{path.name}.partial")
        shutil.rmtree(gone, ignore_errors=True)
        path.rename(gone)
        shutil.rmtree(gone)

    def _entries(self) -> Iterator[Path]:
        if self.path.is_dir() and not self.path.is_symlink():
            yield from (p for p in self.path.iterdir() if p.is_dir() and not p.is_symlink())

    def _make(self) -> None:
        if self.path.is_symlink():
            raise OSError(f"{self.path} is a link; checkpoints stay in the run's own folder")
        durable.folder(self.path)

    def _files(self) -> Iterator[Path]:
        """Yield what is ours and no checkpoint: finished models, and the best weights so far."""
        folder = self.path / MODELS
        if self.path.is_symlink() or not self.path.is_dir():
            return
        yield from (self.path / name for name in _BESTS if (self.path / name).is_file())
        if folder.is_dir() and not folder.is_symlink():
            yield from (path for path in folder.iterdir() if _MODEL.fullmatch(path.name))


def _copy(source: Path, target: Path) -> None:
    staged = target.with_name(f"{target.name}.partial")
    try:
        shutil.copyfile(source, staged)
        durable.replace(staged, target)
    except OSError:
        durable.discard(staged)
        raise


__all__ = [
    "BEST",
    "CHECKPOINTS",
    "MANIFEST",
    "STATE",
    "TENSORS",
    "Checkpoint",
    "Damaged",
    "Store",
    "digest",
]
