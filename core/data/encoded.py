"""An image file that is no file: bytes that stand in a table."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa


class Encoded(NamedTuple):
    """The bytes of an image file; ``str()`` is what error messages call it."""

    name: str
    content: pa.Buffer

    def __str__(self) -> str:
        return self.name


def opened(image: Path | Encoded) -> Path | io.BytesIO:
    """Return what Pillow can open; bytes are copied only now."""
    return image if isinstance(image, Path) else io.BytesIO(image.content)
