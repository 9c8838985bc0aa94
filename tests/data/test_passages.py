"""Texts to predict something for: the same tokens as in training, from files of several kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tables

from paribus import data
from paribus.data import passages
from paribus.errors import DataError
from paribus.spec.data import Data

ROWS = [{"title": f"title {i}", "body": f"body {i}, “quoted”", "label": i % 2} for i in range(5)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for source in ("csv", "jsonl", "parquet"):
        tables.write(source, tmp_path / f"rows.{source}", ROWS)
    (tmp_path / "one.txt").write_text("one text\nof two lines", encoding="utf-8")
    (tmp_path / "two.TXT").write_text("", encoding="utf-8")
    tables.letters(tmp_path / "tokenizer.json")
    return tmp_path


def test_texts_come_in_the_order_of_files_and_rows(folder: Path) -> None:
    paths = [folder / name for name in ("one.txt", "rows.jsonl", "two.TXT", "rows.csv")]
    found = passages.from_files(paths, ["body"])
    rows = [row["body"] for row in ROWS]
    assert found.texts == ["one text\nof two lines", *rows, "", *rows]
    assert found.names[:2] == [str(folder / "one.txt"), f"{folder / 'rows.jsonl'}: row 0"]
    assert found.names[-1] == f"{folder / 'rows.csv'}: row 4"
    assert len(found.names) == len(found.texts)


@pytest.mark.parametrize("columns", [["body"], ["title", "body"]])
@pytest.mark.parametrize("source", ["csv", "jsonl", "parquet"])
def test_a_text_means_the_same_tokens_as_in_training(
    folder: Path, source: str, columns: list[str]
) -> None:
    path = folder / f"rows.{source}"
    section = Data(
        source=source, path=str(path), text={"columns": columns, "length": 24},
        tokenizer={"path": str(folder / "tokenizer.json")},
    )  # fmt: skip
    trained = data.load(section, 0)
    found = passages.from_files([path], columns)
    encoded = passages.encode(found.texts, trained.tokens.tokenizer, 24)
    assert (encoded == trained.x).all()


@pytest.mark.parametrize(
    ("name", "columns", "message"),
    [
        ("none.csv", ["body"], "none.csv: there is no such file"),
        ("", ["body"], "is a folder"),
        ("picture.png", ["body"], r"not a file of texts; allowed: .txt, .csv, .jsonl, .parquet"),
        ("one.txt", ["title", "body"], "is one text, and the model reads pairs of texts; put them"),
        ("rows.csv", ["bodi"], "data.text.columns = 'bodi': .* Did you mean 'body'"),
        ("rows.jsonl", ["label"], r"'label' \(data.text.columns\) holds int64; allowed: texts"),
    ],
)
def test_unusable_files_are_named(
    folder: Path, name: str, columns: list[str], message: str
) -> None:
    (folder / "picture.png").write_bytes(b"")
    with pytest.raises(DataError, match=message):
        passages.from_files([folder / name], columns)


def test_nothing_to_read_is_said(folder: Path) -> None:
    tokenizer: Any = (folder / "tokenizer.json").read_text(encoding="utf-8")
    with pytest.raises(DataError, match="there are no texts"):
        passages.encode([], tokenizer, 8)
