"""From a valid input to one that nobody meant: bytes, and what a format makes of them.

A checksum stops a mutation that does not know it, so what has one is taken apart, changed inside
and put together again: zip and gzip members, PNG chunks, the header of a safetensors file. JSON is
changed as the tree that it is, or it would nearly always stop being JSON.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

LONGEST = 1 << 18

NUMBERS: tuple[Any, ...] = (
    0, 1, -1, 2, 255, 65536, 2**31 - 1, 2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63),
    10**30, 10**400, 0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"),
)  # fmt: skip
TEXTS = (
    "", "\0", "../../outside", "/etc/hostname", "a" * 3000, "\x1b]0;title\x07", "\x9b31m", "‮",
    "é", "\ud800", "os:system", "__class__", "%s%n", "{0}", "[/b]", "C:\\x", "NaN", "F32",
    "-", " ", "\n", "none", "auto", "none\n", "💥" * 40,
)  # fmt: skip
PIECES = (
    b"\0", b"\xff" * 8, b"\x7f\xff\xff\xff", b"\0\0\0\x80", b"[" * 200, b"{" * 200, b'"', b"'",
    b"\n", b"\r\n", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"1e999", b"9" * 400, b"NaN", b"-", b",",
    b":", b"=", b"[[", b"]]", b"!!python/object/apply:os.getcwd []", b"&a [*a]", b"*a", b"<<: ",
    b"---\n", b"../", b"\x1b[31m", b"PK\x03\x04", b"PK\x05\x06", b"cposix\nsystem\n", b"\x80\x04",
    b"R.", b"'''", b'"""', b"a." * 200, b"#", b"\\u0000", b"\t", b"0x", b"_", b"inf", b"null",
    b"true",
)  # fmt: skip


def mutated(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Return another input: by its format where it has one, else by its bytes."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        change = _inside(data) if rng.random() < 0.6 else None
        try:
            data = change(data, rng) if change else _bytes(data, rng, others)
        except Exception:
            # It has been changed beyond its format.
            data = _bytes(data, rng, others)
    return data[:LONGEST]


def _inside(data: bytes) -> Callable[[bytes, random.Random], bytes] | None:
    if data[:4] == b"PK\x03\x04":
        return _zip
    if data[:2] == b"\x1f\x8b":
        return _gzip
    if data[:4] == b"\x89PNG":
        return _png
    if data[:1] in b"{[" and data[:2] not in (b"[[",):
        return _json_lines if b"}\n{" in data else _json
    if data[8:9] == b"{" and len(data) > 10:
        return _safetensors
    return None


def _bytes(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    at = rng.randrange(len(data) + 1)
    size = min(len(data) - at, rng.choice((1, 1, 2, 4, 8, 32, 256)))
    kind = rng.randrange(8)
    if kind == 0 and data:  # flip
        place = min(at, len(data) - 1)
        return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]
    if kind == 1:  # cut
        return data[:at] + data[at + size :]
    if kind == 2:  # end
        return data[:at]
    if kind == 3:  # repeat
        return data[:at] + data[at : at + size] * rng.choice((2, 3, 17, 300)) + data[at + size :]
    if kind == 4:  # put in
        return data[:at] + rng.choice(PIECES) + data[at:]
    if kind == 5:  # put over
        piece = rng.choice(PIECES)
        return data[:at] + piece + data[at + len(piece) :]
    if kind == 6 and others:  # splice
        other = rng.choice(others)
        return data[:at] + other[rng.randrange(len(other) + 1) :]
    # a number in one of its sizes and orders
    form = rng.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
    number = rng.choice((0, 1, 255, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63, rng.getrandbits(64)))
    packed = struct.pack(form, number & ((1 << 8 * struct.calcsize(form)) - 1))
    return data[:at] + packed + data[at + len(packed) :]


def _json(data: bytes, rng: random.Random) -> bytes:
    return dumped(tree_of(json.loads(data), rng))


def _json_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at] = _json(lines[at], rng)
    return b"\n".join(lines)


def dumped(tree: Any) -> bytes:
    """Return JSON, with what JSON has not (NaN, half a surrogate pair) as Python writes it."""
    return json.dumps(tree).encode()


def tree_of(tree: Any, rng: random.Random) -> Any:
    """Return a JSON value with one change somewhere in it."""
    if isinstance(tree, dict) and tree and rng.random() < 0.8:
        key = rng.choice(list(tree))
        kind = rng.randrange(10)
        if kind == 0:
            return {name: value for name, value in tree.items() if name != key}
        if kind == 1:
            return {**tree, rng.choice(TEXTS): tree[key]}
        if kind == 2:
            return {rng.choice(TEXTS) if name == key else name: v for name, v in tree.items()}
        if kind == 3:
            return {**tree, key: tree[rng.choice(list(tree))]}
        return {**tree, key: tree_of(tree[key], rng)}
    if isinstance(tree, list) and tree and rng.random() < 0.8:
        at, kind = rng.randrange(len(tree)), rng.randrange(8)
        if kind == 0:
            return tree[:at] + tree[at + 1 :]
        if kind == 1:
            return [*tree, *tree[at : at + 1] * rng.choice((1, 2, 70, 3000))]
        return [*tree[:at], tree_of(tree[at], rng), *tree[at + 1 :]]
    kind = rng.randrange(9)
    if isinstance(tree, str) and kind < 3:
        at = rng.randrange(len(tree) + 1)
        return tree[:at] + rng.choice(TEXTS) + tree[at:]
    if isinstance(tree, int) and kind < 3:
        return tree + rng.choice((-1, 1, 2, 8))
    if kind == 7:
        deep: Any = tree
        for _ in range(rng.choice((1, 30, 900))):
            deep = [deep] if rng.random() < 0.5 else {"a": deep}
        return deep
    options = (*NUMBERS, *TEXTS, None, True, False, [], {}, [[]], {"": None}, [tree], {"a": tree})
    return rng.choice(options)


def _zip(data: bytes, rng: random.Random) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    at, kind = rng.randrange(len(members)), rng.randrange(10)
    info, content = members[at]
    if kind == 0:
        members.append(members[at])
    elif kind == 1:
        del members[at]
    elif kind == 2:
        info.filename = rng.choice((*TEXTS[:4], "x.npy", info.filename + "\0a"))
    else:
        members[at] = info, _bytes(content, rng, [other for _, other in members])
    packed = io.BytesIO()
    compression = rng.choice((zipfile.ZIP_STORED,) * 4 + (zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(packed, "w", compression) as archive:
        for info, content in members:
            archive.writestr(info.filename.encode("utf-8", "replace").decode(), content)
    return packed.getvalue()


def _gzip(data: bytes, rng: random.Random) -> bytes:
    return gzip.compress(_bytes(gzip.decompress(data), rng, []), 1)


def _png(data: bytes, rng: random.Random) -> bytes:
    chunks, at = [], 8
    while at + 12 <= len(data):
        size = struct.unpack(">I", data[at : at + 4])[0]
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    place, kind = rng.randrange(len(chunks)), rng.randrange(6)
    name, content = chunks[place]
    if kind == 0:
        chunks.insert(rng.randrange(len(chunks) + 1), chunks[place])
    elif kind == 1:
        name = rng.choice((b"tRNS", b"PLTE", b"acTL", b"iCCP", b"zTXt", b"eXIf", b"gAMA", b"IEND"))
        chunks.insert(place, (name, rng.randbytes(rng.choice((0, 1, 4, 12, 40)))))
    elif name == b"IDAT" and kind < 4:
        chunks[place] = name, zlib.compress(_bytes(zlib.decompress(content), rng, []))
    else:
        chunks[place] = name, _bytes(content, rng, [])
    packed = b"".join(
        struct.pack(">I", len(content)) + name + content + _checksum(name + content)
        for name, content in chunks
    )
    return data[:8] + packed


def _checksum(data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data))


def _safetensors(data: bytes, rng: random.Random) -> bytes:
    size = struct.unpack("<Q", data[:8])[0]
    header = dumped(tree_of(json.loads(data[8 : 8 + size]), rng))
    return struct.pack("<Q", len(header)) + header + data[8 + size :]
