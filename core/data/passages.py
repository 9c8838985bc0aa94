"""Texts that somebody wants predictions for: files in, token numbers out.

A .txt file is one text. A .csv, .jsonl or .parquet file has one in each row, or a pair, in the
columns that the model was trained with. Reading is that of training, so a text means the same
tokens in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from paribus.data.documents import Columns, Files
from paribus.data.tables.columns import TEXT, column_of_texts
from paribus.data.tables.parts import READERS
from paribus.data.tables.table import read
from paribus.data.tokenizer import Numbers, Texts, Tokenizer
from paribus.errors import DataError
from paribus.filenames import is_file, is_folder

PLAIN = ".txt"
TABLES = {f".{name}": name for name in ("csv", "jsonl", "parquet")}


class Passages(NamedTuple):
    """Texts, or pairs of texts, and where each comes from: a file, or a file's row."""

    names: list[str]
    texts: list[str] | list[tuple[str, str]]


def require(paths: Sequence[Path], columns: Sequence[str]) -> None:
    """Require that every path is a file of a kind that can be read: before anything else is done.

    Raises:
        DataError: no such file, a folder, another kind of file, or plain text where pairs are
            wanted.
    """
    for path in paths:
        if not is_file(path):
            raise DataError(
                f"{path}: {'is a folder' if is_folder(path) else 'there is no such file'}"
            )
        if path.suffix.lower() not in (PLAIN, *TABLES):
            raise DataError(f"{path}: not a file of texts; allowed: {', '.join((PLAIN, *TABLES))}")
        if path.suffix.lower() == PLAIN and len(columns) > 1:
            raise DataError(
                f"{path}: is one text, and the model reads pairs of texts; put them into the "
                f"columns {' and '.join(columns)} of a .csv, .jsonl or .parquet file"
            )


def from_files(paths: Sequence[Path], columns: Sequence[str]) -> Passages:
    """Read the texts of files, in order; ``columns`` are those of the spec, for tables.

    Raises:
        DataError: a file cannot be read, or lacks a column.
    """
    require(paths, columns)
    names: list[str] = []
    texts: list[Any] = []
    for path in paths:
        if path.suffix.lower() == PLAIN:
            names.append(str(path))
            texts.extend(Files([path]).take(np.arange(1)))
            continue
        table = read(READERS[TABLES[path.suffix.lower()]](path), dict.fromkeys(columns, TEXT))
        documents = Columns([column_of_texts(table, name).combine_chunks() for name in columns])
        names.extend(f"{path}: row {row}" for row in range(table.rows))
        texts.extend(documents.take(np.arange(table.rows)))
    return Passages(names, texts)


def encode(texts: Texts, tokenizer: str, length: int) -> Numbers:
    """Return texts as the network's input, by the JSON of the tokenizer that it was trained with.

    Returns:
        int32 [N, length], or [N, length, 2] for pairs; as in ``Dataset.x``.

    Raises:
        DataError: there are no texts, or one cannot be read.
    """
    if not len(texts):
        raise DataError("there are no texts to predict anything for")
    return Tokenizer(tokenizer).encode(texts, length)
