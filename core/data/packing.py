"""Documents to blocks of equal length, for language models.

The tokens of all documents make one stream, with the tokenizer's separator between documents, which
is cut into blocks. Nothing is padded, and nothing is lost but the end that fills no block.

    masked_lm    [CLS] and length − 2 tokens and [SEP], where the tokenizer has both; else length
    causal_lm    length + 1 tokens, the last of which is the next block's first: the network reads
                 ``length`` tokens and predicts the token after each, so each is predicted once
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from paribus.architectures import Objective
from paribus.data.dataset import Integers
from paribus.data.documents import Documents, Piece
from paribus.data.spool import Numbers, Spool
from paribus.data.tokenizer import Tokenizer

# Pieces and characters that become tokens together, and tokens that become blocks together.
_PIECES = 1024
_CHARACTERS = 1 << 20
_TOKENS = 1 << 18


class Packed(NamedTuple):
    """How many blocks were made, and of how many tokens."""

    blocks: int
    tokens: int


def width(objective: Objective, length: int) -> int:
    """Return the tokens that are stored for a block of which the network reads ``length``."""
    return length + int(objective == "causal_lm")


def pack(
    documents: Documents,
    rows: Integers,
    tokenizer: Tokenizer,
    objective: Objective,
    length: int,
    spool: Spool,
) -> Packed:
    """Append the blocks of some documents, in order, to ``spool``: rows int32 [``width``].

    Raises:
        DataError: a document cannot be read, or the blocks cannot be kept.
    """
    start: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    if objective == "masked_lm" and tokenizer.frame is not None:
        start, end = tokenizer.frame[:1], tokenizer.frame[1:]
    inner = length - len(start) - len(end)
    shared = width(objective, length) - length
    rest = np.empty(0, dtype=np.int32)
    made = total = 0
    for tokens in _gathered(stream(documents, rows, tokenizer)):
        total += len(tokens)
        rest = np.concatenate((rest, tokens))
        count = max(0, len(rest) - shared) // inner
        if count:
            windows = np.lib.stride_tricks.sliding_window_view(rest, inner + shared)
            blocks = windows[: count * inner : inner]
            sides = [np.full((count, len(side)), side, dtype=np.int32) for side in (start, end)]
            spool.append(np.concatenate((sides[0], blocks, sides[1]), axis=1))
            rest = rest[count * inner :]
            made += count
    return Packed(made, total)


def stream(documents: Documents, rows: Integers, tokenizer: Tokenizer) -> Iterator[Numbers]:
    """Return the tokens of documents, in stretches, with separators between the documents.

    A document without tokens leaves no trace.
    """
    between, fresh = False, True
    for batch in _together(documents.pieces(rows)):
        numbers = tokenizer.pieces([piece.text for piece in batch])
        for piece, tokens in zip(batch, numbers, strict=True):
            if len(tokens):
                if between and fresh and tokenizer.separator is not None:
                    yield np.array([tokenizer.separator], dtype=np.int32)
                yield tokens
                between, fresh = True, False
            fresh = fresh or piece.last


def _together(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece.text)
        if size >= _CHARACTERS or len(batch) >= _PIECES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _gathered(stretches: Iterable[Numbers]) -> Iterator[Numbers]:
    held: list[Numbers] = []
    size = 0
    for stretch in stretches:
        held.append(stretch)
        size += len(stretch)
        if size >= _TOKENS:
            yield np.concatenate(held)
            held, size = [], 0
    if held:
        yield np.concatenate(held)
