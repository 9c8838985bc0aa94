"""Where a file stops being UTF-8."""

from __future__ import annotations

import codecs
from pathlib import Path

from paribus.errors import DataError

_CHUNK = 1 << 20


def require_utf8(path: Path) -> None:
    """Read a file and require that it is UTF-8.

    Raises:
        DataError: it is not; the message has the line.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    line = 1
    with path.open("rb") as file:
        while True:
            chunk = file.read(_CHUNK)
            held = decoder.getstate()[0]
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                raise not_utf8(path, line + (held + chunk)[: error.start].count(b"\n")) from error
            if not chunk:
                return
            line += chunk.count(b"\n")


def not_utf8(path: Path, line: int) -> DataError:
    """Return the error for a file whose ``line`` is not UTF-8."""
    return DataError(
        f"{path}: line {line} is not UTF-8 text; convert the file, for example with `iconv -f "
        "latin1 -t utf-8`"
    )
