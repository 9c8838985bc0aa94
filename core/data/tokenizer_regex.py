"""Which regular expressions of a ``tokenizer.json`` may meet a text.

The library tries ways to match one after the other. A repetition in a repetition, ``(a+)+``, or a
choice in one, ``(a|aa)*``, can be matched in exponentially many ways, and a text of forty letters
that matches in none of them would take a day. The patterns that tokenizers are published with need
neither: they are alternatives, each of which repeats classes of characters.
"""

from __future__ import annotations

import re

LONGEST = 8192
DEEPEST = 32

# What repeats without end; a bounded repetition counts as one from this many on.
_QUANTIFIER = re.compile(r"[*+]|\{(?P<least>\d*)(?P<comma>,?)(?P<most>\d*)\}")
_MANY = 16


def problem(pattern: str) -> str | None:
    """Return why a pattern is refused, as the end of a sentence; None where it may be used."""
    if len(pattern) > LONGEST:
        return f"has a pattern of more than {LONGEST} characters"
    # Of each open group: whether it holds what can be matched in several ways.
    open_groups = [False]
    at = depth_of_class = 0
    while at < len(pattern):
        character = pattern[at]
        closed = False
        if character == "\\":
            at += 1
        elif character == "[":
            depth_of_class += 1
        elif character == "]" and depth_of_class:
            depth_of_class -= 1
        elif depth_of_class:
            pass
        elif character == "(":
            open_groups.append(False)
            if len(open_groups) > DEEPEST:
                return f"has a pattern of groups more than {DEEPEST} deep"
        elif character == "|":
            open_groups[-1] = True
        elif character == ")" and len(open_groups) > 1:
            closed = True
        at += 1
        if depth_of_class or character in "(|":
            continue
        inner = open_groups.pop() if closed else False
        repeated = _repeats(pattern, at)
        if repeated and inner:
            return "has a pattern with a repetition or a choice inside of a repetition"
        open_groups[-1] |= bool(repeated) or inner
        at += repeated
    return None


def _repeats(pattern: str, at: int) -> int:
    """Return the length of an unbounded quantifier at a place of the pattern; 0 for none."""
    found = _QUANTIFIER.match(pattern, at)
    if found is None:
        return 0
    if found[0] in "*+":
        return 1
    most = found["most"] if found["comma"] else found["least"]
    bounded = most != "" and len(most) <= 2 and int(most) < _MANY
    return 0 if bounded else len(found[0])
