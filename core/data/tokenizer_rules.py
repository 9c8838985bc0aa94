"""What a ``tokenizer.json`` may ask for: rules that cannot make a text grow without bounds.

The rules are named and no code, but some of them write: a replacement, a prefix, a template. A file
can chain them so that a short text becomes terabytes, and the library has no limit of its own.
Published tokenizers write a few characters.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from paribus.data.tokenizer_regex import problem
from paribus.errors import DataError

# How many times longer all replacements together may make a text.
GROWTH = 1024
KEYS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
# Each byte becomes a letter, of up to two bytes; each space a sign of three.
_BYTE_LEVEL, _METASPACE = 2, 3
_RULES = 64
_PREFIX = 1024
_PIECES = 64
# Of the base64 text of SentencePiece's character map; T5's has 320 thousand.
_CHARACTER_MAP = 1 << 22
_DEPTH = 16


def require_modest(document: Mapping[str, Any], origin: str) -> None:
    """Require that the rules make no text grow beyond reason, and are shaped like rules.

    Raises:
        DataError: they do, or are not.
    """
    growth, templates = dict.fromkeys(KEYS, 1), 0
    for key in KEYS:
        for count, rule in enumerate(_rules(document.get(key), origin, key)):
            if count >= _RULES:
                raise _refused(origin, key, f"has more than {_RULES} rules")
            kind = rule.get("type")
            if (why := _pattern(rule)) is not None:
                raise _refused(origin, key, why)
            content = rule.get("content") or rule.get("prepend") or ""
            if not isinstance(content, str) or len(content) > _PREFIX:
                raise _refused(origin, key, f"writes more than {_PREFIX} characters at once")
            characters = str(rule.get("precompiled_charsmap") or "")
            if len(characters) > _CHARACTER_MAP:
                raise _refused(origin, key, f"has a map of more than {_CHARACTER_MAP} characters")
            growth[key] *= _growth(kind, content, characters)
            if kind == "TemplateProcessing":
                templates += 1
                for shape in ("single", "pair"):
                    pieces = rule.get(shape) or []
                    if not isinstance(pieces, list) or len(pieces) > _PIECES:
                        raise _refused(origin, key, f"has a template of more than {_PIECES} pieces")
    # What normalizers have written, pre-tokenizers write again.
    for key, times in (
        ("normalizer", growth["normalizer"] * growth["pre_tokenizer"]),
        ("decoder", growth["decoder"]),
    ):
        if times > GROWTH:
            raise _refused(origin, key, f"can make a text {times} times as long")
    if templates > 1:
        raise _refused(origin, "post_processor", f"has {templates} templates, one after the other")
    added = document.get("added_tokens") or []
    if not isinstance(added, list) or not all(
        isinstance(token, dict) and isinstance(token.get("content"), str) for token in added
    ):
        raise _refused(origin, "added_tokens", "is no list of tokens")


def _growth(kind: Any, content: str, characters: str) -> int:
    """Return how many times longer a rule may make a text, where it may do so each time."""
    if kind == "Replace":
        return max(1, len(content))
    if kind == "ByteLevel":
        return _BYTE_LEVEL
    if kind == "Metaspace":
        return _METASPACE
    return _longest(characters) if characters else 1


def _longest(characters: str) -> int:
    """Return the longest text, in bytes, that SentencePiece's map has for a character.

    The map is the length of a table (4 bytes), the table, and the texts, each ended by a zero.
    """
    try:
        decoded = base64.b64decode(characters, validate=True)
    except ValueError:
        return 1  # The library refuses it.
    texts = decoded[4 + int.from_bytes(decoded[:4], "little") :]
    return max(map(len, texts.split(b"\0")))


def _pattern(rule: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a rule's regular expression, if it has one."""
    pattern = rule.get("pattern")
    found = pattern.get("Regex") if isinstance(pattern, dict) else None
    return problem(found) if isinstance(found, str) else None


def _rules(rule: Any, origin: str, key: str, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Return a rule and those in it: sequences hold others, under names that end in s."""
    if rule is None:
        return
    if not isinstance(rule, dict) or depth > _DEPTH:
        raise _refused(origin, key, "is not shaped like a rule")
    yield rule
    for name in ("normalizers", "pretokenizers", "processors", "decoders"):
        inner = rule.get(name) or []
        if not isinstance(inner, list):
            raise _refused(origin, key, "is not shaped like a rule")
        for one in inner:
            yield from _rules(one, origin, key, depth + 1)


def _refused(origin: str, key: str, what: str) -> DataError:
    return DataError(f"{origin}: {key} {what}; no tokenizer in use needs that, take another one")
