"""The files of a run folder by their names, and reading them; ``paribus.runfolder`` writes them.

    spec.toml              the resolved spec; runs again to the same result
    metrics.jsonl          a row per optimizer step and a row per evaluation
    result.json            status, versions, what each step found, the test
    weights.safetensors    the final canonical tensors
    pretrain.safetensors   those after pretraining, where there was a pretrain step
    tokenizer.json         the tokenizer, where the data is texts

A folder may be somebody else's: what is read has a bound, and links do not lead out of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from paribus.checkpoints.fields import parse
from paribus.checkpoints.folder import Folder
from paribus.errors import RunFolderError, WeightsError

RESULT, SPEC, METRICS, WEIGHTS = "result.json", "spec.toml", "metrics.jsonl", "weights.safetensors"
PRETRAINED, TOKENIZER = "pretrain.safetensors", "tokenizer.json"
# Bytes of a row: labels and a few numbers.
LONGEST_ROW = 1 << 16
# Tables of what steps found; and rows of 200 bytes for five million optimizer steps.
LARGEST_RESULT, LARGEST_METRICS = 1 << 26, 1 << 30
OURS = (RESULT, SPEC, METRICS, WEIGHTS, PRETRAINED, TOKENIZER)


def own_file(path: Path, name: str) -> Path:
    """Return the path of a run folder's file.

    Raises:
        RunFolderError: there is none, it is no plain file, or a link that leads out of the folder.
    """
    if not (path / name).is_symlink() and not (path / name).exists():
        raise RunFolderError(f"{path} is not a run folder: it has no {name}")
    try:
        return Folder(path).file(name)
    except WeightsError as error:
        raise RunFolderError(str(error)) from error


def read_result(path: Path) -> dict[str, Any]:
    """Read a run folder's ``result.json``.

    Raises:
        RunFolderError: there is none, it is too large, or it is no JSON object.
    """
    file = own_file(path, RESULT)
    try:
        if file.stat().st_size > LARGEST_RESULT:
            raise RunFolderError(f"{file} has more than {LARGEST_RESULT:,} bytes; no result has")
        result = parse(file.read_text(encoding="utf-8"), file)
    except (OSError, ValueError, WeightsError) as error:
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
    """Read a run folder's ``metrics.jsonl``; a row that is being written is not there yet.

    Raises:
        RunFolderError: there is none, it is too large, or a line is no JSON object.
    """
    file = own_file(path, METRICS)
    try:
        if file.stat().st_size > LARGEST_METRICS:
            raise RunFolderError(
                f"{file} has more than {LARGEST_METRICS:,} bytes; read its lines one by one"
            )
        whole = file.read_bytes().rpartition(b"\n")[0]
        rows = [json.loads(line) for line in whole.splitlines()]
    except (OSError, ValueError, RecursionError) as error:
        raise RunFolderError(f"{file} is not readable: {error}") from error
    if not all(isinstance(row, dict) for row in rows):
        raise RunFolderError(f"{file} is not a run's: expected a JSON object in each line")
    return rows
