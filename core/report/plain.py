"""Text that came from a file, made safe to show on a terminal.

Names of tensors, columns, classes and files are anybody's. A terminal obeys what stands between
letters: an escape sequence can clear the screen, change the window's title or print an answer into
the shell, and marks of direction can make one name look like another. Such characters are shown as
what they are written with, ``\\x1b``, and nothing else of a text changes.
"""

from __future__ import annotations

import re

# Controls but line breaks and tabs; marks that turn the direction of text; halves of surrogate
# pairs, as which Python reads bytes of a file's name that are no text, and which nothing can print.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def plain(text: str) -> str:
    """Return ``text`` with what a terminal would obey written out."""
    return _UNSEEN.sub(lambda found: _written(found[0]), text)


def plain_json(text: str) -> str:
    """Return JSON text with the same characters as JSON writes them: the same values."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _written(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()
