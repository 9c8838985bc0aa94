"""From a source's texts to a data set of tokens: which tokenizer, and which tokens.

A tokenizer that is trained sees all texts of the source but its given test file's and those that
judge another step, whatever ``data.classes`` and ``data.limit`` choose: candidates that differ in
those share their tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paribus.architectures import LANGUAGE, Objective
from paribus.data import tokenizer_files, tokenizer_training
from paribus.data.dataset import Dataset, Integers, Tokens
from paribus.data.documents import Documents
from paribus.data.masking import require_mask
from paribus.data.packing import pack, width
from paribus.data.source import Source
from paribus.data.spool import Spool
from paribus.data.streamed import Examples, Streamed
from paribus.data.subset import Chosen, choose
from paribus.data.tokenizer import Tokenizer
from paribus.errors import DataError, SpecError

if TYPE_CHECKING:
    from paribus.spec.data import Data, Text

_ROWS = 4096
_LEAST_BLOCKS = 2


def dataset(
    section: Data,
    seed: int,
    objective: Objective,
    source: Source,
    exclude: Integers,
    tokenizer: str | None,
) -> Dataset:
    """Return the tokens of a source of texts; arguments as in ``paribus.data.load``."""
    documents = source.documents
    assert documents is not None
    _require_no_image_keys(section)
    known = _tokenizer(section, source, documents, exclude, tokenizer)
    if objective in LANGUAGE:
        return _blocks(section, seed, objective, source, documents, exclude, known)
    chosen = choose(source, section.classes, section.limit, seed, objective, exclude)
    x = encoded(documents, chosen.rows, known, section)
    tokens = known.tokens(widths(section.text))
    return _dataset(x, chosen, objective, tokens, chosen.rows)


def encoded(documents: Documents, rows: Integers, tokenizer: Tokenizer, section: Data) -> Examples:
    """Return the rows' texts as int32 [n, length], or [n, length, 2] for pairs of texts."""
    length = section.text.length
    shape = (length,) if documents.columns == 1 else (length, 2)
    spool = Spool(shape, section.memory)
    for start in range(0, len(rows), _ROWS):
        texts = documents.take(rows[start : start + _ROWS])
        spool.append(tokenizer.encode(texts, length))
    return spool.finish()


def widths(section: Text) -> tuple[int, ...]:
    """Return the lengths that batches are padded to, ascending.

    By default a quarter of the length, a half, each rounded up to a multiple of 8, and all of it.
    """
    if section.widths is not None:
        return tuple(section.widths)
    shorter = {-(-section.length // (8 * part)) * 8 for part in (4, 2)}
    return (*sorted(width for width in shorter if width < section.length), section.length)


def _blocks(
    section: Data,
    seed: int,
    objective: Objective,
    source: Source,
    documents: Documents,
    exclude: Integers,
    tokenizer: Tokenizer,
) -> Dataset:
    length = section.text.length
    tokens = tokenizer.tokens((length,))
    if objective == "masked_lm":
        require_mask(tokens)
    train, test = _documents(source, exclude)
    spool = Spool((width(objective, length),), section.memory)
    made = []
    for rows, what, least in ((train, "texts", _LEAST_BLOCKS), (test, "test texts", 1)):
        if what == "texts" or len(rows):
            part = pack(documents, rows, tokenizer, objective, length, spool)
            made.append(part.blocks)
            if part.blocks < least:
                raise DataError(
                    f"{source.origin}: the {what} have {part.tokens} tokens, which fill "
                    f"{part.blocks} blocks of data.text.length = {length}; at least {least} are "
                    "needed. Use a smaller length, or more text"
                )
    x = spool.finish()
    given = np.arange(made[0], len(x), dtype=np.int64) if len(made) > 1 else None
    y = np.zeros(len(x), dtype=np.int64)
    packed = Source(source.origin, y, (), 1.0, given_test=given)
    chosen = choose(packed, section.classes, section.limit, seed, objective)
    x = x.chosen(chosen.rows) if isinstance(x, Streamed) else x[chosen.rows]
    return _dataset(x, chosen, objective, tokens, None)


def _dataset(
    x: Examples, chosen: Chosen, objective: Objective, tokens: Tokens, rows: Integers | None
) -> Dataset:
    return Dataset(
        x, chosen.y, chosen.class_names, 1.0, chosen.groups, chosen.given_test, rows, tokens,
        objective,
    )  # fmt: skip


def _documents(source: Source, exclude: Integers) -> tuple[Integers, Integers]:
    """Return the rows that train or validate, and those of the given test set."""
    used = np.setdiff1d(np.arange(len(source.y), dtype=np.int64), exclude)
    test = np.empty(0, dtype=np.int64) if source.given_test is None else source.given_test
    return np.setdiff1d(used, test), np.intersect1d(used, test)


def _tokenizer(
    section: Data, source: Source, documents: Documents, exclude: Integers, known: str | None
) -> Tokenizer:
    if known is not None:
        return Tokenizer(known)
    if section.tokenizer.path is not None:
        return tokenizer_files.read(Path(section.tokenizer.path).expanduser())
    rows, _ = _documents(source, exclude)

    def pieces() -> Iterator[str]:
        return (piece.text for piece in documents.pieces(rows))

    return tokenizer_training.train(pieces, section.tokenizer)


def _require_no_image_keys(section: Data) -> None:
    for name in ("image", "transform"):
        asked = getattr(section, name)
        default = type(asked)()
        for key in type(asked).model_fields:
            if getattr(asked, key) != getattr(default, key):
                raise SpecError(
                    f"data.{name}.{key}: the data is texts, and only images and tables of numbers "
                    "have that; remove the key"
                )
