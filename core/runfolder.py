"""The folder that a run leaves: readable by people and by programs, and readable at any time.

    spec.toml              the resolved spec; runs again to the same result
    metrics.jsonl          a row per optimizer step and a row per evaluation
    result.json            status, versions, what each step found, the test
    weights.safetensors    the final canonical tensors
    pretrain.safetensors   those after pretraining, where there was a pretrain step
    tokenizer.json         the tokenizer, where the data is texts

Whole files are staged beside their place and renamed, so a reader never sees half of one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from paribus.errors import RunFolderError

RESULT, SPEC, METRICS, WEIGHTS = "result.json", "spec.toml", "metrics.jsonl", "weights.safetensors"
PRETRAINED, TOKENIZER = "pretrain.safetensors", "tokenizer.json"
OURS = (RESULT, SPEC, METRICS, WEIGHTS, PRETRAINED, TOKENIZER)


class RunFolder:
    """An open run folder.

    Raises (all methods):
        RunFolderError: it cannot be created or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._metrics: TextIO | None = None

    @classmethod
    def create(cls, path: Path, *, overwrite: bool = False) -> RunFolder:
        """Create the folder, or take an empty one, or replace an earlier run's files.

        Files that are not a run's are never touched.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            held = [name for name in OURS if (path / name).exists()]
            if held and not overwrite:
                raise RunFolderError(
                    f"{path} already holds a run ({', '.join(held)}); choose another --out, or "
                    "replace it with --overwrite"
                )
            for name in held:
                (path / name).unlink()
            folder = cls(path)
            folder._metrics = (path / METRICS).open("w", encoding="utf-8")
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
            self._metrics.writelines(_json(row) + "\n" for row in rows)
            self._metrics.flush()
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def write(self, name: str, text: str) -> None:
        """Write a text file, complete or not at all."""
        staged = self.path / f"{name}.partial"
        try:
            staged.write_text(text, encoding="utf-8")
            staged.replace(self.path / name)
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
