"""A file of PyTorch's, looked at before PyTorch sees it, by other means than PyTorch's.

``weights_only`` is the one door between a pickle and this process, and has been open twice. So a
file is read here first by an unpickler that makes nothing: every name that a pickle asks for is
looked up in a closed list, and stands for an object of ours that does nothing but remember what it
was called with. A file passes if all that it asks for is on the list, and if every tensor lies
within bytes that the file has: PyTorch takes memory for what a pickle claims, and not for what
follows, and reads past the end of a record that is shorter than its tensor.

There are two formats. Since 1.6 a file is a zip archive, uncompressed, with ``NAME/data.pkl`` and a
member ``NAME/data/KEY`` for each storage; before, it is five pickles (a number, a version, a
description of the machine, the object, the storages' keys), and behind them each storage: its
length in 8 bytes, then its values.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, ClassVar, NamedTuple

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
# A model of ten thousand tensors has 3 MB, and as much again for each state of its optimizer.
LARGEST_PICKLE = 16 * 2**20
LONGEST_LINE = 4096
MOST_MEMBERS = 100_000
# Of values or of places: more than any memory has. A pickle's own may be megabytes long each.
LARGEST_NUMBER = 2**62
ZIP = b"PK\x03\x04"

_SIZES = {
    "Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1,
    "Byte": 1, "Bool": 1, "ComplexDouble": 16, "ComplexFloat": 8, "QInt8": 1, "QUInt8": 1,
    "QInt32": 4,
}  # fmt: skip
STORAGES = {f"torch {name}Storage": size for name, size in _SIZES.items()}
STORAGES["torch.storage UntypedStorage"] = 1
# What is beside dense tensors is read to be refused by its name, by ``files``.
REBUILD = "torch._utils _rebuild_tensor_v2"
BUILT = frozenset({
    REBUILD, "torch._utils _rebuild_parameter", "torch._utils _rebuild_tensor_v3",
    "torch._utils _rebuild_sparse_tensor", "torch._utils _rebuild_meta_tensor_no_storage",
    "torch._utils _rebuild_qtensor", "torch._tensor _rebuild_from_type_v2", "torch Size",
    "torch device", "torch.serialization _get_layout", "torch per_tensor_affine",
    "torch per_channel_affine",
})  # fmt: skip
DTYPES = frozenset({
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8",
    "uint16", "uint32", "uint64", "bool", "complex64", "complex128",
})  # fmt: skip


class Asked(Exception):
    """The pickle asks for a name that is not on the list."""


class Unfit(Exception):
    """The file is not what such a file is; the message says how."""


class Claim(NamedTuple):
    """A storage that a pickle names: its key among the file's, and the bytes that it takes."""

    key: str
    size: int
    itemsize: int


@dataclass(frozen=True)
class _Made:
    """What stands for anything that a pickle makes; it takes no state."""

    call: Callable[..., Any] | None = None
    itemsize: int = 0

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return _NOTHING if self.call is None else self.call(*arguments)

    def __setstate__(self, state: Any) -> None:
        """Take nothing: attributes are what a pickle would set here."""


class _Dictionary(dict[Any, Any]):
    """What stands for an ``OrderedDict``, which has attributes where it comes from a module."""

    def __setstate__(self, state: Any) -> None:
        """Take nothing."""


_NOTHING = _Made()


@dataclass
class _Reader:
    """A stream whose pickles have bounds: on a line, and on the whole."""

    stream: IO[bytes]
    left: int = field(default_factory=lambda: LARGEST_PICKLE)

    def read(self, size: int) -> bytes:
        return self._counted(self.stream.read(min(size, self.left + 1)))

    def readline(self) -> bytes:
        return self._counted(self.stream.readline(LONGEST_LINE))

    def _counted(self, found: bytes) -> bytes:
        self.left -= len(found)
        if self.left < 0:
            raise Unfit(f"its pickles have more than {LARGEST_PICKLE:,} bytes")
        return found


# The one in Python: that in C makes a table as long as the largest number that a pickle gives.
class _Inert(pickle._Unpickler):
    """Reads a pickle and makes nothing of it."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, reader: _Reader, claims: list[Claim]) -> None:
        super().__init__(reader)
        self._claims = claims

    def find_class(self, module: str, name: str) -> Any:
        asked = f"{module} {name}"
        if asked == "collections OrderedDict":
            return _Made(_ordered)
        if asked in STORAGES:
            return _Made(itemsize=STORAGES[asked])
        if asked == REBUILD:
            return _Made(_require_inside)
        if asked in BUILT or (module == "torch" and name in DTYPES):
            return _NOTHING
        raise Asked(f"{module}.{name}"[:200])

    def get_extension(self, code: int) -> None:
        raise Unfit("its pickle names an extension by number")

    def persistent_load(self, pid: Any) -> Claim:
        # Of the older format, a sixth item says which part of the storage this is: none.
        kind, made, key, _, count, *view = pid
        if kind != "storage" or not isinstance(made, _Made) or not made.itemsize or any(view):
            raise Unfit("it names something that is no storage")
        if not isinstance(key, str) or type(count) is not int or not 0 <= count < LARGEST_NUMBER:
            raise Unfit("a storage has no key or no size")
        claim = Claim(key, count * made.itemsize, made.itemsize)
        self._claims.append(claim)
        return claim


def _require_inside(
    storage: Any, offset: int, shape: Sequence[int], strides: Sequence[int], *_: Any
) -> _Made:
    """Require that a tensor's first and last value are in its storage."""
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, Claim) or len(shape) != len(strides):
        raise Unfit("a tensor is not made of a storage")
    if not all(type(number) is int and 0 <= number < LARGEST_NUMBER for number in numbers):
        raise Unfit("a tensor has a shape that is none")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if 0 not in shape and (last + 1) * storage.itemsize > storage.size:
        raise Unfit(f"a tensor of shape {list(shape)} does not lie within its storage")
    return _NOTHING


def _ordered(pairs: Sequence[Any] = ()) -> _Dictionary:
    """Return what stands for an ``OrderedDict``, which Python 2 wrote with its pairs."""
    if not isinstance(pairs, list | tuple) or any(
        not isinstance(pair, list | tuple) or len(pair) != 2 for pair in pairs
    ):
        raise Unfit("it has a dictionary that is not made of pairs")
    _plain_keys(key for key, _ in pairs)
    return _Dictionary(pairs)


def _plain_keys(keys: Iterable[Any]) -> None:
    # A tuple of tuples of tuples is small, and its hash takes years.
    if not all(isinstance(key, str | int) for key in keys):
        raise Unfit("it has a dictionary whose keys are no names")


def _set_item(unpickler: Any) -> None:
    _plain_keys(iter(unpickler.stack[-2:-1]))
    unpickler.load_setitem()


def _set_items(unpickler: Any) -> None:
    _plain_keys(iter(unpickler.stack[::2]))
    unpickler.load_setitems()


def _dict(unpickler: Any) -> None:
    _plain_keys(iter(unpickler.stack[::2]))
    unpickler.load_dict()


def _set(unpickler: Any) -> None:
    raise Unfit("it has a set")


_Inert.dispatch |= {
    pickle.SETITEM[0]: _set_item, pickle.SETITEMS[0]: _set_items, pickle.DICT[0]: _dict,
    pickle.EMPTY_SET[0]: _set, pickle.ADDITEMS[0]: _set, pickle.FROZENSET[0]: _set,
}  # fmt: skip


@dataclass
class _Pickles:
    """The pickles of a stream, one after the other, and the storages that they name."""

    reader: _Reader
    claims: list[Claim] = field(default_factory=list)

    def next(self) -> Any:
        return _Inert(self.reader, self.claims).load()


def screen(path: Path) -> None:
    """Look at a file without making anything of it.

    Raises:
        Asked: it asks for something else than tensors and containers.
        Unfit: it is of neither format, or claims what it does not hold.
        Exception: it is damaged; whatever damaged bytes make a reader raise.
    """
    with path.open("rb") as stream:
        start = stream.read(len(ZIP))
        stream.seek(0)
        if start == ZIP:
            _zip(stream, path.stat().st_size)
        elif start[:1] != pickle.PROTO:
            raise Unfit("it is neither an archive nor a pickle")
        else:
            _older(stream, path.stat().st_size)


def _zip(stream: IO[bytes], size: int) -> None:
    with zipfile.ZipFile(stream) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if len(members) < len(archive.infolist()) or len(members) > MOST_MEMBERS:
            raise Unfit("its archive has a name twice, or too many")
        if any(info.compress_type or info.flag_bits & 1 for info in members.values()):
            raise Unfit("its archive is compressed or encrypted, which PyTorch's are not")
        if sum(info.file_size for info in members.values()) > size:
            raise Unfit("its archive claims more than the file has")
        pickles = [name for name in members if name.endswith(".pkl")]
        if len(pickles) != 1 or not pickles[0].endswith("/data.pkl"):
            raise Unfit("its archive is not of one object (is it TorchScript?)")
        with archive.open(pickles[0]) as inner:
            found = _Pickles(_Reader(inner))
            found.next()
    top = pickles[0].removesuffix("data.pkl")
    held = {name.removeprefix(f"{top}data/"): info.file_size for name, info in members.items()}
    _require_held(found.claims, held)


def _older(stream: IO[bytes], size: int) -> None:
    pickles = _Pickles(_Reader(stream))
    if pickles.next() != MAGIC or pickles.next() != PROTOCOL:
        raise Unfit("it does not begin as such a file does")
    for _ in ("machine", "object"):
        pickles.next()
    keys = pickles.next()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Unfit("its storages have no keys")
    sizes = {claim.key: claim for claim in pickles.claims}
    held, at = {}, stream.tell()
    for key in keys:
        stream.seek(at)
        count = int.from_bytes(stream.read(8), "little")
        itemsize = sizes[key].itemsize if key in sizes else 1
        held[key] = count * itemsize
        at += 8 + held[key]
        if at > size:
            raise Unfit("it ends before its storages do")
    _require_held(pickles.claims, held)


def _require_held(claims: Sequence[Claim], held: Mapping[str, int]) -> None:
    """Require that each storage takes exactly the bytes that the file has for it."""
    for claim in claims:
        if held.get(claim.key) != claim.size:
            raise Unfit(
                f"storage {claim.key[:100]!r} claims {claim.size:,} bytes, and the file has "
                f"{held.get(claim.key, 0):,} for it"
            )
