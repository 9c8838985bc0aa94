"""The folder that a run leaves: readable by people and by programs, and readable at any time.

    spec.toml              the resolved spec; runs again to the same result
    metrics.jsonl          a row per optimizer step and a row per evaluation
    result.json            status, versions, what each step found, the test
    weights.safetensors    the final canonical tensors
    pretrain.safetensors   those after pretraining, where there was a pretrain step
    tokenizer.json         the tokenizer, where the data is texts
    checkpoints            what an unfinished run goes on from (``paribus.runstate``)

Whole files are staged beside their place and renamed, so a reader never sees half of one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from paribus import durable
from paribus.errors import RunFolderError
from paribus.runstate.records import Mark
from paribus.runstate.store import CHECKPOINTS, Store

RESULT, SPEC, METRICS, WEIGHTS = "result.json", "spec.toml", "metrics.jsonl", "weights.safetensors"
PRETRAINED, TOKENIZER = "pretrain.safetensors", "tokenizer.json"
# Bytes of a row: labels and a few numbers.
LONGEST_ROW = 1 << 16
OURS = (RESULT, SPEC, METRICS, WEIGHTS, PRETRAINED, TOKENIZER)


class RunFolder:
    """An open run folder.

    Raises (all methods):
        RunFolderError: it cannot be created or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._metrics: BinaryIO | None = None
        self._written, self._hash = 0, sha256()

    @classmethod
    def create(cls, path: Path, *, overwrite: bool = False) -> RunFolder:
        """Create the folder, or take an empty one, or replace an earlier run's files.

        Files that are not a run's are never touched.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            store = Store(path)
            held = [name for name in OURS if (path / name).exists()]
            if (held or store.held) and not overwrite:
                listed = [*held, *([CHECKPOINTS] if store.held else [])]
                raise RunFolderError(
                    f"{path} already holds a run ({', '.join(listed)}); choose another --out, "
                    f"replace it with --overwrite, or go on with it with --resume {path}"
                )
            store.clear()
            for name in held:
                (path / name).unlink()
            folder = cls(path)
            folder._metrics = (path / METRICS).open("wb")
        except OSError as error:
            raise _unwritable(path, error) from error
        return folder

    @classmethod
    def reopen(cls, path: Path, rows: Mark, source: Path | None = None) -> RunFolder:
        """Open a run's folder to go on with it.

        Args:
            path: the folder.
            rows: the bytes of ``metrics.jsonl`` to keep; what follows is cut off.
            source: the run folder that they come from, if it is another.
        """
        folder = cls(path)
        try:
            if source is not None:
                with (source / METRICS).open("rb") as stream:
                    (path / METRICS).write_bytes(stream.read(rows.size))
            (path / METRICS).touch()
            metrics = (path / METRICS).open("r+b")
            folder._metrics = metrics
            while folder._written < rows.size:
                piece = metrics.read(min(durable.PIECE, rows.size - folder._written))
                if not piece:
                    raise OSError(f"{METRICS} has been cut while it was read")
                folder._count(piece)
            metrics.truncate(rows.size)
            metrics.seek(rows.size)
        except OSError as error:
            raise _unwritable(path, error) from error
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
        """Append rows to ``metrics.jsonl``."""
        if self._metrics is None:
            raise RunFolderError(f"{self.path}: the run has ended; nothing can be recorded")
        try:
            text = _lines(rows).encode()
            self._metrics.write(text)
            self._metrics.flush()
            self._count(text)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def mark(self) -> Mark:
        """Return what has been recorded so far, once it is on the disk."""
        try:
            durable.sync(self.path / METRICS)
        except OSError as error:
            raise _unwritable(self.path, error) from error
        return Mark(size=self._written, sha256=self._hash.hexdigest())

    def _count(self, text: bytes) -> None:
        self._written += len(text)
        self._hash.update(text)

    def write(self, name: str, text: str) -> None:
        """Write a text file, complete or not at all."""
        try:
            durable.write(self.path / name, text)
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write ``result.json``."""
        self.write(RESULT, _json(result, indent=2) + "\n")

    def close(self) -> None:
        """Close ``metrics.jsonl``."""
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None


def read_result(path: Path) -> dict[str, Any]:
    """Read a run folder's ``result.json``.

    Raises:
        RunFolderError: there is none, or it is not JSON.
    """
    file = path / RESULT
    try:
        result = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunFolderError(f"{path} is not a run folder: it has no {RESULT}") from error
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{file} is not readable: {error}") from error
    if not isinstance(result, dict):
        raise RunFolderError(f"{file} is not a run's result: expected a JSON object")
    return result


def last_line(path: Path) -> bytes:
    """Return the last row of a run folder's ``metrics.jsonl`` as it stands there; it may be none.

    Raises:
        RunFolderError: it cannot be read.
    """
    try:
        with (path / METRICS).open("rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - LONGEST_ROW))
            lines = stream.read().splitlines(keepends=True)
    except OSError as error:
        raise RunFolderError(f"{path / METRICS} is not readable: {error}") from error
    return lines[-1] if lines else b""


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read a run folder's ``metrics.jsonl``.

    Raises:
        RunFolderError: there is none, or a line is not JSON.
    """
    file = path / METRICS
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{file} is not readable: {error}") from error


def _json(value: Any, indent: int | None = None) -> str:
    """Return strict JSON: NaN and infinities, which JSON has not, become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False, ensure_ascii=False)


# A line break is in no JSON text of flat rows but between their items, so one call does for all.
_ENCODER = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",\n", ": "))


def _lines(rows: list[dict[str, Any]]) -> str:
    """Return a line of JSON for each row; rows are flat."""
    try:
        text = _ENCODER.encode(rows)[1:-1]
    except ValueError:
        return "".join(_json(row) + "\n" for row in rows)
    return text.replace("},\n{", "}\n{").replace(",\n", ", ") + "\n" if rows else ""


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
