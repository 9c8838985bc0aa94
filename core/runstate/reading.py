"""Files of a checkpoint, read with distrust: each is plain, of its size, and as it was written."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from paribus import durable
from paribus.checkpoints.fields import parse
from paribus.errors import WeightsError


class Damaged(Exception):
    """A checkpoint that cannot be used; the message names the file and says why."""


def digest(path: Path, size: int | None = None) -> str:
    """Return the SHA-256 of a file, or of its first ``size`` bytes, in hexadecimal."""
    found = sha256()
    with path.open("rb") as stream:
        while piece := stream.read(durable.PIECE if size is None else min(size, durable.PIECE)):
            found.update(piece)
            size = None if size is None else size - len(piece)
    return found.hexdigest()


def canonical(value: Any) -> str:
    """Return the one text of a value: a byte that differs is another value, or none."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n"


def record(kind: type[Any], text: str, file: Path) -> Any:
    """Return the record of a kind that a file's text holds.

    Raises:
        Damaged: it holds anything else.
    """
    try:
        return kind.model_validate_json(json.dumps(parse(text, file)))
    except (WeightsError, ValidationError) as error:
        said = error.errors()[0] if isinstance(error, ValidationError) else None
        where = "" if said is None else f": {'.'.join(map(str, said['loc']))}: {said['msg']}"
        raise Damaged(f"{file} is not what it should be{where}" if said else str(error)) from error


def bounded(file: Path, most: int) -> bytes:
    """Return the bytes of a plain file of up to ``most``.

    Raises:
        Damaged: it is a link, missing, larger, or cannot be read.
    """
    _require_plain(file)
    try:
        size = file.stat().st_size
        if size > most:
            raise Damaged(f"{file} has {size:,} bytes; allowed: up to {most:,}")
        return file.read_bytes()
    except OSError as error:
        raise Damaged(f"{file} cannot be read: {error.strerror or error}") from error


def require(file: Path, expected: str, size: int | None = None) -> None:
    """Require that a plain file has this SHA-256, and this size.

    Raises:
        Damaged: it has not.
    """
    _require_plain(file)
    try:
        found = file.stat().st_size
        if size is not None and found != size:
            raise Damaged(f"{file} has {found:,} bytes instead of {size:,}")
        if digest(file) != expected:
            raise Damaged(f"{file} is not as it was written: its SHA-256 differs")
    except OSError as error:
        raise Damaged(f"{file} cannot be read: {error.strerror or error}") from error


def _require_plain(file: Path) -> None:
    if file.is_symlink() or file.parent.is_symlink():
        raise Damaged(f"{file} is a link; a checkpoint has files of its own")
    if not file.is_file():
        raise Damaged(f"{file} is missing")
