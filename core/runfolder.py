"""The folder that a run leaves: readable by people and by programs, and readable at any time.

    the files of           ``paribus.runfiles``, which reads them
    checkpoints            what an unfinished run goes on from (``paribus.runstate``)
    .lock                  while a process writes it (``paribus.runstate.lock``)

Whole files are staged beside their place and renamed, so a reader never sees half of one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from paribus import durable
from paribus.errors import RunFolderError
from paribus.rowsfile import RowsFile
from paribus.runfiles import (
    METRICS,
    OURS,
    PRETRAINED,
    RESULT,
    SPEC,
    TOKENIZER,
    WEIGHTS,
    last_line,
    own_file,
    read_metrics,
    read_result,
)
from paribus.runlinks import require_own_files
from paribus.runstate.lock import Lock
from paribus.runstate.records import Mark
from paribus.runstate.store import CHECKPOINTS, Store


class RunFolder:
    """An open run folder, which no other process writes.

    Attributes:
        path: where it is.
        warn: told what went wrong and did not end the run.

    Raises (all methods):
        RunFolderError: it cannot be created or written, or another process writes it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warn: Callable[[str], None] = lambda _: None
        self._rows: RowsFile | None = None
        try:
            self._lock = Lock(path)
        except OSError as error:
            raise _unwritable(path, error) from error

    @property
    def locked(self) -> bool:
        """Whether other processes are kept out: not where the file system has no locks."""
        return self._lock.held

    @classmethod
    def create(cls, path: Path, *, overwrite: bool = False) -> RunFolder:
        """Create the folder, or take an empty one, or replace an earlier run's files.

        Files that are not a run's are never touched.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(path, error) from error
        folder = cls(path)
        try:
            store = Store(path)
            require_own_files(path, OURS, store.path)
            held = [name for name in OURS if (path / name).exists()]
            if (held or store.held) and not overwrite and has_begun(path):
                listed = [*held, *([CHECKPOINTS] if store.held else [])]
                raise RunFolderError(
                    f"{path} already holds a run ({', '.join(listed)}); choose another --out, "
                    f"replace it with --overwrite, or go on with it with --resume {path}"
                )
            # What says that there is a run goes first: no half of one may pass for a whole.
            for name in held:
                (path / name).unlink()
            store.clear()
            folder._rows = RowsFile(path / METRICS)
        except OSError as error:
            folder.close()
            raise _unwritable(path, error) from error
        except RunFolderError:
            folder.close()
            raise
        return folder

    @classmethod
    def reopen(
        cls,
        path: Path,
        rows: Mark,
        source: Path | None = None,
        first: Callable[[], None] = lambda: None,
    ) -> RunFolder:
        """Open a run's folder to go on with it.

        Args:
            path: the folder.
            rows: the bytes of ``metrics.jsonl`` to keep; what follows is cut off.
            source: the run folder that they come from, if it is another.
            first: called once nobody else can write the folder, before anything is changed.
        """
        folder = cls(path)
        try:
            require_own_files(path, OURS, path / CHECKPOINTS)
            first()
            if source is not None:
                with (source / METRICS).open("rb") as stream:
                    (path / METRICS).write_bytes(stream.read(rows.size))
            folder._rows = RowsFile.reopen(path / METRICS, rows)
        except OSError as error:
            folder.close()
            raise _unwritable(path, error) from error
        except RunFolderError:
            folder.close()
            raise
        return folder

    @classmethod
    def numbered(cls, root: Path, backend: str) -> RunFolder:
        """Create the next free ``root/BACKEND-N``."""
        number = 1
        while True:
            try:
                root.mkdir(parents=True, exist_ok=True)
                path = root / f"{backend}-{number}"
                path.mkdir()
            except FileExistsError:
                if not root.is_dir():
                    raise _unwritable(root, NotADirectoryError("it is a file")) from None
                number += 1
                continue
            except OSError as error:
                raise _unwritable(root, error) from error
            return cls.create(path)

    def record(self, rows: list[dict[str, Any]]) -> None:
        """Append rows to ``metrics.jsonl``; where the disk is full, once there is room."""
        try:
            self._open.write(_lines(rows), self.warn)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def mark(self) -> Mark:
        """Return what has been recorded so far, once it is on the disk.

        Raises:
            OSError: it cannot be written.
        """
        return self._open.mark()

    @property
    def _open(self) -> RowsFile:
        if self._rows is None:
            raise RunFolderError(f"{self.path}: the run has ended; nothing can be recorded")
        return self._rows

    def write(self, name: str, text: str) -> None:
        """Write a text file, complete or not at all."""
        try:
            durable.write(self.path / name, text)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def write_first(self, spec: str, result: Mapping[str, Any]) -> None:
        """Write what is known before a run begins; where that fails, the folder is closed."""
        try:
            self.write(SPEC, spec)
            self.write_result(result)
        except RunFolderError:
            self.close()
            raise

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write ``result.json``."""
        self.write(RESULT, _json(result, indent=2) + "\n")

    def write_progress(self, result: Mapping[str, Any]) -> None:
        """Write ``result.json`` on the way; a full disk may leave the one before."""
        try:
            self.write_result(result)
        except RunFolderError as error:
            if not durable.full(error.__cause__):
                raise
            self.warn(f"{error}; the run goes on")

    def finish(self) -> None:
        """Write every row; nothing can be recorded after."""
        if self._rows is not None:
            rows, self._rows = self._rows, None
            try:
                rows.close()
            except OSError as error:
                raise _unwritable(self.path, error) from error

    def close(self) -> None:
        """Close ``metrics.jsonl``, and let other processes in; what cannot be written is lost."""
        with suppress(RunFolderError):
            self.finish()
        with suppress(OSError):
            self._lock.close()


def has_begun(path: Path) -> bool:
    """Return whether a folder holds more than a run leaves that ends before its first step.

    Such a run has opened ``metrics.jsonl``, which is empty, and may have written its spec; a spec
    alone is somebody's own.
    """
    rows = path / METRICS
    return (
        any((path / name).exists() for name in (RESULT, WEIGHTS, PRETRAINED, TOKENIZER))
        or Store(path).held
        or not rows.exists()
        or rows.stat().st_size > 0
    )


def _json(value: Any, indent: int | None = None) -> str:
    """Return strict JSON: NaN and infinities, which JSON has not, become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False, ensure_ascii=False)


def _lines(rows: list[dict[str, Any]]) -> bytes:
    """Return a line of strict JSON for each row, as ``_json`` does, in a third of the time."""
    return b"".join([to_json(row, inf_nan_mode="null") + b"\n" for row in rows])


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _unwritable(path: Path, error: OSError) -> RunFolderError:
    return RunFolderError(
        f"the run folder {path} cannot be written: {error.strerror or error}; choose another "
        "place with --out"
    )


__all__ = [
    "METRICS",
    "OURS",
    "PRETRAINED",
    "RESULT",
    "SPEC",
    "TOKENIZER",
    "WEIGHTS",
    "RunFolder",
    "has_begun",
    "last_line",
    "own_file",
    "read_metrics",
    "read_result",
]
