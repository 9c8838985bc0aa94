"""PNG files byte by byte: what no library would write, and what a careless or evil one does."""

from __future__ import annotations

import struct
import zlib

GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    width: int, height: int, depth: int, kind: int, rows: bytes, *extra: tuple[bytes, bytes]
) -> bytes:
    """Return a PNG; ``rows`` are its unfiltered rows, without the filter's byte; ``extra`` chunks
    stand before the pixels."""
    header = struct.pack(">2I5B", width, height, depth, kind, 0, 0, 0)
    step = max(1, len(rows) // height)
    filtered = b"".join(b"\0" + rows[at : at + step] for at in range(0, len(rows), step))
    chunks = ((b"IHDR", header), *extra, (b"IDAT", zlib.compress(filtered)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def zeros(count: int) -> bytes:
    """Return ``count`` million zeros, compressed, without ever holding them."""
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(10**6)) for _ in range(count)) + packer.flush()
