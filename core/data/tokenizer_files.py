"""Tokenizers as people have them: a ``tokenizer.json``, or the folder of a published model.

A folder without that file may have the vocabulary in an older form, for which the rules are known:
``vocab.txt`` is BERT's WordPiece, ``vocab.json`` with ``merges.txt`` is GPT-2's byte-level BPE.
What special tokens are for, and whether capital letters are read as small ones, stands in
``special_tokens_map.json`` and ``tokenizer_config.json``. No other key of those is looked at: they
can name classes, and a file never names code here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paribus.data.contained import require_contained
from paribus.data.tokenizer import USUAL, Tokenizer, explained, vocabulary_size
from paribus.errors import DataError
from paribus.filenames import is_file, is_folder

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Rust

# Larger than any published vocabulary: the largest have 35 million bytes.
MAXIMUM_BYTES = 1 << 26


def read(path: Path) -> Tokenizer:
    """Read a tokenizer from a file or a folder.

    Raises:
        DataError: nothing there that is a tokenizer, too large, damaged, or a link out of it.
    """
    if is_file(path):
        return Tokenizer(text(path), origin=str(path))
    if not is_folder(path):
        raise DataError(
            f"data.tokenizer.path = {str(path)!r}: there is no such file or folder; it must be a "
            "tokenizer.json, or a folder that has one"
        )
    names = _names(path, "tokenizer_config.json") | _names(path, "special_tokens_map.json")
    if (whole := _member(path, "tokenizer.json")) is not None:
        return Tokenizer(text(whole), names, str(whole))
    if (vocabulary := _member(path, "vocab.txt")) is not None:
        return Tokenizer(_wordpiece(path, vocabulary, names), names, str(vocabulary))
    vocabulary, merges = _member(path, "vocab.json"), _member(path, "merges.txt")
    if vocabulary is not None and merges is not None:
        return Tokenizer(_bpe(vocabulary, merges, names), names, str(vocabulary))
    raise DataError(
        f"{path}: has no tokenizer; expected tokenizer.json, or vocab.txt (WordPiece), or "
        "vocab.json and merges.txt (byte-level BPE)"
    )


def _wordpiece(folder: Path, path: Path, names: Mapping[str, str]) -> str:
    """Return the JSON of BERT's tokenizer with the words of a ``vocab.txt``, one a line."""
    from tokenizers import Tokenizer as Rust
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    tokens = text(path).removesuffix("\n").split("\n")
    vocabulary = {token.removesuffix("\r"): number for number, token in enumerate(tokens)}
    config = _json(folder, "tokenizer_config.json")
    accents = config.get("strip_accents")
    special = _special(names, vocabulary)
    if "unk" not in special:
        raise DataError(f"{path}: has no {USUAL['unk'][0]} token, which stands for unknown words")
    with explained(str(path)):
        rust = Rust(models.WordPiece(vocabulary, unk_token=special["unk"]))
        rust.normalizer = normalizers.BertNormalizer(
            lowercase=config.get("do_lower_case") is not False,
            handle_chinese_chars=config.get("tokenize_chinese_chars") is not False,
            strip_accents=accents if isinstance(accents, bool) else None,
        )
        rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        rust.decoder = decoders.WordPiece()
        rust.add_special_tokens(sorted(set(special.values())))
        if "cls" in special and "sep" in special:
            frame(rust, special["cls"], special["sep"], "{0} $A {1} $B:1 {1}:1")
        return str(rust.to_str())


def _bpe(path: Path, merges: Path, names: Mapping[str, str]) -> str:
    """Return the JSON of GPT-2's tokenizer with the vocabulary and merges of its two files.

    Where the folder says which tokens start and end a text, they are put there as RoBERTa does it.
    """
    from tokenizers import Tokenizer as Rust
    from tokenizers import decoders, models, pre_tokenizers

    vocabulary = _object(path)
    vocabulary_size(vocabulary, str(path))
    lines = text(merges).split("\n")
    start = 1 if lines[0].startswith("#version") else 0
    split = [line.removesuffix("\r").split(" ") for line in lines[start:] if line]
    wrong = next((line for line in split if len(line) != 2), None)
    if wrong is not None:
        raise DataError(f"{merges}: {' '.join(wrong)!r} is no merge of two tokens; fetch it again")
    pairs = [(first, second) for first, second in split]
    special = _special(names, vocabulary)
    with explained(str(path)):
        rust = Rust(models.BPE(vocabulary, pairs))
        rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        rust.decoder = decoders.ByteLevel()
        rust.add_special_tokens(sorted(set(special.values())))
        if names.get("cls") in vocabulary and names.get("sep") in vocabulary:
            frame(rust, names["cls"], names["sep"], "{0} $A {1} {1} $B {1}")
        return str(rust.to_str())


def frame(rust: Rust, start: str, end: str, pair: str) -> None:
    """Put special tokens around texts: ``start``, the text, ``end``; ``pair`` for two of them."""
    from tokenizers import processors

    numbers = [(token, rust.token_to_id(token)) for token in sorted({start, end})]
    rust.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", pair=pair.format(start, end), special_tokens=numbers
    )


def _special(names: Mapping[str, str], vocabulary: Mapping[str, Any]) -> dict[str, str]:
    """Return the special tokens that a vocabulary has, by what they are for."""
    candidates = {role: (*([names[role]] if role in names else []), *USUAL[role]) for role in USUAL}
    found = {
        role: next((token for token in tokens if token in vocabulary), None)
        for role, tokens in candidates.items()
    }
    return {role: token for role, token in found.items() if token is not None}


def _names(folder: Path, name: str) -> dict[str, str]:
    """Return what a file of the folder calls the special tokens; empty where it does not."""
    stored = _json(folder, name)
    names = {}
    for role in USUAL:
        token = stored.get(f"{role}_token")
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str):
            names[role] = token
    return names


def _json(folder: Path, name: str) -> dict[str, Any]:
    path = _member(folder, name)
    return {} if path is None else _object(path)


def _object(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(text(path))
        json.dumps(stored, ensure_ascii=False).encode()  # Half of a surrogate pair is no text.
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON ({error}); fetch it again") from error
    if not isinstance(stored, dict):
        raise DataError(f"{path}: is no JSON object; fetch it again")
    return stored


def _member(folder: Path, name: str) -> Path | None:
    path = folder / name
    if not is_file(path):
        return None
    # Hugging Face's cache keeps the files of all versions of a model beside their folders.
    cached = (folder.parent.parent / "blobs",) if folder.parent.name == "snapshots" else ()
    require_contained(path, folder, *cached)
    return path


def text(path: Path) -> str:
    """Read a file of a tokenizer, UTF-8, of at most ``MAXIMUM_BYTES``.

    Raises:
        DataError: it is larger, or cannot be read.
    """
    size = path.stat().st_size
    if size > MAXIMUM_BYTES:
        raise DataError(f"{path}: has {size} bytes; allowed for a tokenizer: up to {MAXIMUM_BYTES}")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error})") from error
