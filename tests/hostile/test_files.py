"""Small files that would become large, slow or others: refused before they are."""

from __future__ import annotations

import gzip
import json
import os
import struct
import time
import tracemalloc
import zipfile
import zlib
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing.inputs import TOKENIZER

from paribus import data, weights
from paribus.checkpoints import fields
from paribus.data import tokenizer_files
from paribus.data.decode import probe
from paribus.data.sources import archive, idx
from paribus.data.sources.archive import Archive
from paribus.data.tokenizer import Tokenizer
from paribus.data.tokenizer_regex import problem
from paribus.errors import DataError, ParibusError, SpecError, WeightsError
from paribus.spec import load
from paribus.spec.data import Data

GIB = 1 << 30


def header(shape: str, dtype: str = "'<f4'") -> bytes:
    text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(10 + len(text) + 1) % 64) + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text


def npz(path: Path, content: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("x.npy", content)
    return path


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (header("(6,)", "'|O'") + b"cos\nsystem\n.", "Python objects"),
        (header(f"({2**62},)"), "promises an array"),
        (header("(-1,)"), "promises an array"),
        (header("__import__('os').system('touch ran')"), "cannot be read"),
        (header("(1,)", "__import__('os')"), "cannot be read"),
        (header("(" * 200 + ")" * 200), "cannot be read"),
        (b"\x93NUMPY\x01\0\xff\xff" + b"[" * 65535, "cannot be read"),
        (b"\x93NUMPY\x03\0\0\0\0\0", "format"),
    ],
)  # fmt: skip
def test_a_header_of_numpys_is_read_as_data(
    content: bytes, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Archive(npz(tmp_path / "x.npz", content)) as opened, pytest.raises(DataError, match=words):
        opened.read("x")
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def test_names_of_classes_are_texts(tmp_path: Path) -> None:
    x, y = np.ones((4, 3)), np.array([0, 1, 0, 1])
    for code in (0xD800, 0x110000):
        names = np.array([code, 97], "<u4").view("<U1")
        np.savez(tmp_path / "x.npz", x=x, y=y, class_names=names)
        with pytest.raises(DataError, match="no Unicode text"):
            read({"source": "npz", "path": str(tmp_path / "x.npz")})
    (tmp_path / "photos" / os.fsdecode(b"caf\xe9")).mkdir(parents=True)
    with pytest.raises(DataError, match="has to be UTF-8 text"):
        read({"source": "image_folder", "path": str(tmp_path / "photos")})


def read(section: dict[str, Any]) -> None:
    data.load(Data.model_validate(section), 0)


def test_names_in_an_archive_are_no_paths(tmp_path: Path) -> None:
    path = tmp_path / "inner" / "x.npz"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as file:
        for name in ("../outside.npy", "/tmp/paribus-outside.npy", "x.npy"):
            file.writestr(name, header("(0,)"))
    with Archive(path) as opened:
        for name in opened:
            assert opened.read(name).shape == (0,)
    assert [found.name for found in tmp_path.rglob("*")] == ["inner", "x.npz"]


def test_what_unpacks_to_more_than_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (archive, idx):
        monkeypatch.setattr(module, "available", lambda: 1 << 16)
    packed = header("(20000,)") + bytes(80000)
    path = npz(tmp_path / "x.npz", packed, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1000
    with Archive(path) as opened, pytest.raises(DataError, match="80000 bytes of memory"):
        opened.read("x")
    images = tmp_path / "images.gz"
    images.write_bytes(gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 80000) + bytes(80000)))
    with pytest.raises(DataError, match="promises 80000 bytes"):
        idx.read(images, (None,))


def png(width: int, height: int, data: bytes = b"") -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "content",
    [
        png(60_000, 60_000),
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 2**20, 2**20, 1, 24, *[0] * 6),
        b"P6\n1000000 1000000\n255\n",
        b"P6\n" + b"9" * 200 + b" 1\n255\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n(touch ran) run\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    ],
    ids=["png", "bmp", "ppm", "digits", "postscript", "svg"],
)
def test_a_picture_is_refused_by_its_header(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"x\.png"):
            probe(path)
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()


def safetensors(path: Path, tensors: str, values: bytes = bytes(8), length: int = 0) -> Path:
    path.write_bytes(struct.pack("<Q", length or len(tensors)) + tensors.encode() + values)
    return path


def entry(shape: object, start: int = 0, end: int = 8) -> str:
    told = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    return json.dumps(told)


HEADERS = {
    "shared bytes": f'{{"a": {entry([2])}, "b": {entry([1], 4)}}}',
    "outside": f'{{"a": {entry([200], 0, 800)}}}',
    "a gap": f'{{"a": {entry([1], 4)}}}',
    "negative": f'{{"a": {entry([-2], 8, 0)}}}',
    "a name twice": f'{{"a": {entry([2])}, "a": {entry([2])}}}',
    "axes": f'{{"a": {entry([1] * 70 + [2])}}}',
    "empty axes beyond any size": f'{{"a": {entry([0, 2**47, 2**47], 0, 0)}, "b": {entry([2])}}}',
    "a number without end": f'{{"a": {entry([10**4000])}}}',
    "a number that is true": f'{{"a": {entry([True, 2])}}}',
    "half of a character": f'{{"\\ud800": {entry([2])}}}',
    "depth": '{"a": ' + "[" * 100_000,
    "a list": "[]",
}


@pytest.mark.parametrize("told", HEADERS.values(), ids=HEADERS)
def test_a_header_of_tensors_is_not_believed(told: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as refusal:
        weights.load(safetensors(tmp_path / "model.safetensors", told))
    str(refusal.value).encode()


def test_a_header_longer_than_its_file_takes_no_memory(tmp_path: Path) -> None:
    for length in (2**40, 2**63, 2**64 - 1):
        with pytest.raises(WeightsError, match="its header would have"):
            weights.load(safetensors(tmp_path / "m.safetensors", "{}", length=length))


@pytest.mark.parametrize("suffix", [".keras", ".pkl", ".joblib", ".npz", ".onnx", ".tar"])
def test_programs_are_refused_by_their_kind(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(WeightsError, match=f"a {suffix} file holds .* and is not opened"):
        weights.load(path)


def test_a_json_number_or_key_takes_no_time(tmp_path: Path) -> None:
    """The search for the key that is there twice looks at each once."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"eps": 10**400}))
    with pytest.raises(WeightsError, match="expected a finite number"):
        fields.read_fields(path).number("eps")
    many = ",".join(f'"{number}":0' for number in range(200_000))
    path.write_text(f'{{{many},"199999":1}}')
    begun = time.process_time()
    with pytest.raises(WeightsError, match="'199999' is there twice"):
        fields.read_fields(path)
    # Looking at each pair of keys would take hours.
    assert time.process_time() - begun < 60


def changed(**changes: Any) -> str:
    return json.dumps({**json.loads(TOKENIZER), **changes})


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
RULES = {
    "a chain that doubles": ({"pre_tokenizer": {
        "type": "Sequence", "pretokenizers": [BYTES] * 40}}, "times as long"),
    "replacements one after the other": ({"normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"String": "a"}, "content": "aaaa"}] * 6}}, "4096 times"),
    "a decoder's": ({"decoder": {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "a"}, "content": "aaaa"}] * 6}}, "4096 times"),
    "a map of characters": ({"normalizer": {"type": "Precompiled", "precompiled_charsmap":
        b64encode(b"\4\0\0\0" + bytes(4) + b"a" * 2000).decode()}}, "2000 times as long"),
    "a pattern": ({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+b"},
                   "behavior": "Isolated", "invert": False}}, "inside of a repetition"),
    "many rules": ({"normalizer": {"type": "Sequence", "normalizers": [
        {"type": "NFC"}] * 100}}, "more than 64 rules"),
    "a number far away": ({"model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {
        "[UNK]": 0, "a": 2**31 - 1}, "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100}}, "numbers up to 2147483647"),
    "half of a character": ({"added_tokens": [{"content": "\ud800"}]}, "is not JSON"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), RULES.values(), ids=RULES)
def test_a_tokenizer_makes_no_text_grow_without_end(changes: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Tokenizer(changed(**changes))


def test_a_vocabulary_has_no_number_far_from_the_others(tmp_path: Path) -> None:
    """The library takes memory for every number below."""
    (tmp_path / "merges.txt").write_text("#version\n")
    for number, words in ((2**31 - 1, "numbers up to"), (-1, "numbers up to"), ("1", "is none")):
        (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "b": number}))
        with pytest.raises(DataError, match=words):
            tokenizer_files.read(tmp_path)


PATTERNS = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{M}]*[\p{Ll}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}",
    r"(?=(\d{3})+(?!\d))", r" {2,}", r" ?[^(\s|[.,!?…。，、।۔،])]+",
)  # fmt: skip


def test_patterns_of_published_tokenizers_are_allowed() -> None:
    """GPT-2's, GPT-4's and Llama 3's, o200k's, digits in threes, runs of spaces, Bloom's."""
    assert [problem(pattern) for pattern in PATTERNS] == [None] * len(PATTERNS)
    for pattern in ("(a+)+b", "(a|a)*b", "((a|b))+", "(?:a{2,})*", "(a*){20}", "(a" * 40):
        assert problem(pattern) is not None, pattern


SPECS = {
    ".yaml": ["!!python/object/apply:os.system ['touch ran']", "a: &a [1]\nb: [*a, *a]",
              "a: !!binary aGk=", "? [a]\n: b", "a: " + "[" * 5000, "x: " + "9" * 5000, "a: .nan",
              "- 1\n" * 70_000, "<<: {a: 1}", "a: 1\na: 2", "%TAG ! tag:x\n---\n!y z"],
    ".json": ['{"a": ' + "[" * 100_000, '{"seed": 1e999}', '{"seed": ' + "9" * 5000 + "}",
              '{"a": NaN}', '{"a": 1, "a": 2}', '{"a": "\\ud800"}'],
    ".toml": ["a = " + "[" * 100_000, "a." * 400_000 + "a = 1",
              '"a".' * 200_000 + "a = 1", "[" + "a . " * 200_000 + "a]",
              "seed = " + "9" * 5000, "a = nan", "seed = 1e999", "a = 1\na = 2",
              "name = '../../outside'", "name = 'a\\u0000b'"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("suffix", "text"), [(suffix, text) for suffix, some in SPECS.items() for text in some],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_a_spec_is_read_as_data(
    suffix: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"spec{suffix}"
    path.write_text(text)
    with pytest.raises(SpecError):
        load(path)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_ten_thousand_wrong_keys_take_no_time(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({f"key_number_{number}": 0 for number in range(20_000)}))
    begun = time.process_time()
    with pytest.raises(SpecError, match="20000 problems"):
        load(path)
    assert time.process_time() - begun < 60


def test_a_text_may_have_many_dots(tmp_path: Path) -> None:
    """It is keys of many parts that take long, and not what stands in quotation marks."""
    path = tmp_path / "spec.toml"
    path.write_text('[data]\nsource = "npz"\npath = "' + "x." * 200 + '"\n')
    assert load(path).data.path == "x." * 200


def test_names_of_any_length_are_no_files(tmp_path: Path) -> None:
    long = "a" * 5000
    for source in ("npz", "csv", "image_folder", "fashion_mnist", "text", "datasets"):
        with pytest.raises(DataError):
            read({"source": source, "path": long})
    for call in (weights.load, tokenizer_files.read):
        with pytest.raises(ParibusError):
            call(Path(long))
