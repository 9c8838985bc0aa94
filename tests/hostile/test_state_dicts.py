"""Files that PyTorch's own readers have been attacked with: none gets as far as PyTorch.

The payload of each would make a file called ``ran`` beside it.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paribus.backends.torch import screening
from paribus.backends.torch.screening import Asked, Unfit, screen

# The opcodes of a pickle that holds one tensor [2, 3] of storage "0", put together by hand: what is
# attacked is what PyTorch's own writer would never write.
STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu%btQ"
NUMBER = b"\x8a\x08%b"


SMALL = 1 << 14


class Payload:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self._folder / 'ran'}",)


def number(value: int) -> bytes:
    return NUMBER % value.to_bytes(8, "little", signed=True)


def tensor(
    claimed: int = 6, offset: int = 0, shape: tuple[int, ...] = (2, 3), strides: Any = (3, 1)
) -> bytes:
    """Return opcodes that leave a tensor on the stack."""
    sizes = b"".join(
        b"(" + b"".join(number(value) for value in values) + b"t" for values in (shape, strides)
    )
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE % number(claimed) + number(offset) + sizes
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )  # fmt: skip


def state(value: bytes, name: bytes = b"X\x01\0\0\0a") -> bytes:
    return b"\x80\x02}" + name + value + b"s."


def archive(
    content: bytes, values: bytes = bytes(24), compression: int = zipfile.ZIP_STORED, **more: bytes
) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as file:
        file.writestr("state/data.pkl", content)
        file.writestr("state/data/0", values)
        for name, extra in more.items():
            file.writestr(name.replace("__", "/"), extra)
    return packed.getvalue()


def older(content: bytes, length: int = 6, values: bytes = bytes(24)) -> bytes:
    head = b"".join(pickle.dumps(v, 2) for v in (screening.MAGIC, screening.PROTOCOL, {}))
    return head + content + pickle.dumps(["0"], 2) + struct.pack("<q", length) + values


def doubled() -> bytes:
    """Return a pickle of some hundred bytes whose one key takes 2⁶⁰ steps to hash."""
    return b"\x80\x02}(X\x01\0\0\0a" + b"q\x01h\x01\x86" * 60 + b"X\x01\0\0\0bu."


def doubled_pair() -> bytes:
    """Return a pickle that gives such a key to an ``OrderedDict``, in its one pair."""
    key = b")" + b"2\x86" * 60
    return b"\x80\x02ccollections\nOrderedDict\n](" + key + b"K\x01\x86e\x85R."


def twice() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("state/data.pkl", state(tensor()))
        file.writestr("state/data/0", bytes(24))
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("state/data.pkl", state(tensor()))
    return packed.getvalue()


def tar_of(content: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as file:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def asking(folder: Path) -> bytes:
    return pickle.dumps({"a": Payload(folder)}, 2)


HOSTILE: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "a payload in an archive": (lambda f: archive(asking(f)), r"posix\.system"),
    "a payload in the older format": (lambda f: older(asking(f)), r"posix\.system"),
    "a payload in the first pickle": (asking, r"posix\.system"),
    "a payload by protocol 4": (lambda f: archive(pickle.dumps(Payload(f), 4)), r"posix\.system"),
    "a name of builtins": (
        lambda f: archive(b"\x80\x02cbuiltins\neval\nX\x01\0\0\x001\x85R."), r"builtins\.eval",
    ),
    "a function of PyTorch's": (
        lambda f: archive(b"\x80\x02ctorch.hub\nload\n."), r"torch\.hub\.load",
    ),
    "a dotted name": (
        lambda f: archive(b"\x80\x04\x8c\x05torch\x8c\x0dserialization\x93."),
        r"torch\.serialization",
    ),
    "a tar, the oldest format": (lambda f: tar_of(asking(f)), "neither an archive nor a pickle"),
    "an extension by number": (lambda f: archive(b"\x80\x02\x82\x01."), "extension by number"),
    "a compressed archive": (
        lambda f: archive(state(tensor()), bytes(1 << 20), zipfile.ZIP_DEFLATED), "compressed",
    ),
    "a name twice": (lambda f: twice(), "a name twice"),
    "TorchScript": (lambda f: archive(state(tensor()), state__code__constants__pkl=b"", **{
        "state__constants.pkl": b"."}), "TorchScript"),
    "a storage that is not there": (
        lambda f: archive(state(tensor(2**40))), "claims 4,398,046,511,104 bytes",
    ),
    "a storage longer than its bytes": (
        lambda f: archive(state(tensor(600))), "claims 2,400 bytes, and the file has 24",
    ),
    "a tensor past its storage": (
        lambda f: archive(state(tensor(offset=1))), "does not lie within its storage",
    ),
    "a tensor before its storage": (
        lambda f: archive(state(tensor(offset=-4))), "a shape that is none",
    ),
    "strides past its storage": (
        lambda f: archive(state(tensor(strides=(2**50, 1)))), "does not lie within its storage",
    ),
    "an older storage longer than the file": (
        lambda f: older(state(tensor(2**40)), 2**40), "ends before its storages do",
    ),
    "a key that takes years to hash": (lambda f: archive(doubled()), "keys are no names"),
    "such a key in a pair": (lambda f: archive(doubled_pair()), "keys are no names"),
    "numbers beyond any memory": (
        lambda f: archive(state(tensor(strides=(2**62, 1)))), "a shape that is none",
    ),
    "a set of them": (lambda f: archive(b"\x80\x04\x8f(K\x01\x90."), "a set"),
    "a pickle without end": (
        lambda f: archive(b"\x80\x02" + b"N0" * SMALL + b"N."),
        "more than 16,384 bytes",
    ),
    "a memory index of two billion": (lambda f: archive(b"\x80\x02Nr\xff\xff\xff\x7f."), ""),
}  # fmt: skip


@pytest.mark.parametrize(("made", "words"), HOSTILE.values(), ids=HOSTILE)
def test_a_file_is_refused_before_anything_of_it_is_made(
    made: Callable[[Path], bytes], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screening, "LARGEST_PICKLE", SMALL)
    path = tmp_path / "state.pth"
    path.write_bytes(made(tmp_path))
    if words:
        with pytest.raises((Asked, Unfit, pickle.UnpicklingError), match=words):
            screen(path)
    else:
        # An index is a key of a dictionary here, and no place of a table.
        screen(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("wrap", [archive, older])
def test_what_is_put_together_by_hand_is_what_is_meant(
    wrap: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """Or the files above would be refused for another reason than the one that is attacked."""
    path = tmp_path / "state.pth"
    path.write_bytes(wrap(state(tensor())))
    screen(path)
