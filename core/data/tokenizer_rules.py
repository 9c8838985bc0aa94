"""What a ``tokenizer.json`` may ask for: rules that cannot make a text grow without bounds.

The rules are named and no code, but some of them write: a replacement, a prefix, a template. A file
can chain them so that a short text becomes terabytes, and the library has no limit of its own.
Published tokenizers write a few characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from paribus.errors import DataError

# How many times longer all replacements together may make a text.
GROWTH = 1024
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
    growth, templates = 1, 0
    for key in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        for rule in _rules(document.get(key), origin, key):
            kind = rule.get("type")
            content = rule.get("content") or rule.get("prepend") or ""
            if not isinstance(content, str) or len(content) > _PREFIX:
                raise _refused(origin, key, f"writes more than {_PREFIX} characters at once")
            if kind == "Replace" and key != "decoder":
                growth *= max(1, len(content))
            if len(str(rule.get("precompiled_charsmap") or "")) > _CHARACTER_MAP:
                raise _refused(origin, key, f"has a map of more than {_CHARACTER_MAP} characters")
            if kind == "TemplateProcessing":
                templates += 1
                for shape in ("single", "pair"):
                    pieces = rule.get(shape) or []
                    if not isinstance(pieces, list) or len(pieces) > _PIECES:
                        raise _refused(origin, key, f"has a template of more than {_PIECES} pieces")
    if growth > GROWTH:
        raise _refused(origin, "normalizer", f"can make a text {growth} times as long")
    if templates > 1:
        raise _refused(origin, "post_processor", f"has {templates} templates, one after the other")
    added = document.get("added_tokens") or []
    if not isinstance(added, list) or not all(
        isinstance(token, dict) and isinstance(token.get("content"), str) for token in added
    ):
        raise _refused(origin, "added_tokens", "is no list of tokens")


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
