"""A corpus of plain text, for language models: one .txt file, or a folder of them.

A file is a document. A folder's files are sorted; if one is called train.txt, the files are parts,
as those of a table are: train.txt, validation.txt (or val.txt) and test.txt.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paribus.architectures import LANGUAGE, Objective
from paribus.data.contained import listed
from paribus.data.documents import Files
from paribus.data.source import Source
from paribus.data.tables import parts
from paribus.errors import DataError
from paribus.filenames import is_file

if TYPE_CHECKING:
    from paribus.spec.data import Data

SUFFIX = ".txt"


def find(section: Data, objective: Objective) -> Source:
    """List the files; they are read when tokens are made of them."""
    if objective not in LANGUAGE:
        raise DataError(
            f"data.source = 'text' has no labels, and objective = {objective!r} needs them; put "
            "texts and labels into a table (data.source = 'csv', 'jsonl', 'parquet'), or set "
            "objective = 'masked_lm' or 'causal_lm'"
        )
    path = parts.located(section.source, section.path)
    files, test = _files(path)
    y = np.zeros(len(files), dtype=np.int64)
    given = None if test is None else np.array([len(files) - 1], dtype=np.int64)
    return Source(str(path), y, (), 1.0, given_test=given, documents=Files(files))


def _files(path: Path) -> tuple[list[Path], Path | None]:
    if is_file(path):
        return [path], None
    files = listed(path)
    for file in files:
        if file.suffix != SUFFIX or not is_file(file):
            raise DataError(
                f"{file}: not a {SUFFIX} file; expected a folder of {SUFFIX} files. Remove or hide "
                "it (a name that starts with a dot)"
            )
    if not files:
        raise DataError(f"{path}: is empty; expected {SUFFIX} files")
    if any(file.stem == parts.TRAIN for file in files):
        found = parts.find(path, SUFFIX)
        return found.all, found.test
    return files, None
