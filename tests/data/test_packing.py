"""Documents in blocks: nothing is lost but the tail, however long, many or large they are."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import tables
from hypothesis import given, settings
from hypothesis import strategies as st

from paribus import data
from paribus.data import documents, packing, spool
from paribus.data.documents import Piece, cut
from paribus.data.spool import Spool
from paribus.data.streamed import Streamed
from paribus.data.tokenizer import Tokenizer
from paribus.data.tokenizer_training import train
from paribus.errors import DataError, SpecError
from paribus.spec.data import Data
from paribus.spec.data import Tokenizer as Section

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "so", "did", "dogs,", "it's", "1,234."]
# With the ends of paragraphs, so that those become tokens too.
TEXT = " ".join(WORDS) + " \n\n\n" + "\n\n\n".join(WORDS)
# Words, and lines and paragraphs of them, with spaces where they should not be.
PROSE = st.lists(st.sampled_from([*WORDS, "\n", "\n\n", " \n", "  ", "\r\n"]), max_size=60).map(
    " ".join
)


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Tokenizer]:
    return {
        kind: train(lambda: iter([TEXT] * 3), Section(kind=kind, vocabulary=400))
        for kind in ("wordpiece", "bpe")
    }


@pytest.fixture(scope="module")
def paths(tokenizers, tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tokenizers")
    found = {}
    for kind, tokenizer in tokenizers.items():
        path = folder / f"{kind}.json"
        path.write_text(tokenizer.json, encoding="utf-8")
        found[kind] = str(path)
    return found


@pytest.fixture
def load(paths: dict[str, str]) -> Callable[..., data.Dataset]:
    def read(path: Path, objective: Any, kind: str = "bpe", **changes: Any) -> data.Dataset:
        exclude = changes.pop("exclude", None)
        source = "text" if path.suffix != ".csv" else "csv"
        section = {
            "source": source, "path": str(path), "text": {"length": 8},
            "tokenizer": {"path": paths[kind]},
        }  # fmt: skip
        return data.load(Data.model_validate(section | changes), 0, objective, exclude)

    return read


def stream_of(tokenizer: Tokenizer, texts: list[str]) -> list[int]:
    """Return the tokens of all texts that have any, with a separator between them."""
    stream: list[int] = []
    for tokens in tokenizer.pieces(texts):
        if len(tokens):
            stream += ([tokenizer.separator] if stream else []) + tokens.tolist()
    return stream


def packed(tokenizer: Tokenizer, texts: list[str], objective: Any, length: int) -> np.ndarray:
    made = Spool((packing.width(objective, length),), "auto")
    rows = np.arange(len(texts))
    source = documents.Columns([pa.array(texts, pa.large_string())])
    counted = packing.pack(source, rows, tokenizer, objective, length, made)
    blocks = made.finish()
    assert counted == (len(blocks), len(stream_of(tokenizer, texts)))
    return blocks


@given(st.lists(PROSE, max_size=8), st.integers(4, 20), st.sampled_from(["wordpiece", "bpe"]))
@settings(max_examples=60)
def test_blocks_are_the_stream_without_its_tail(tokenizers, texts, length, kind) -> None:
    tokenizer = tokenizers[kind]
    stream = stream_of(tokenizer, texts)

    masked = packed(tokenizer, texts, "masked_lm", length)
    inner = length
    if kind == "wordpiece":
        inner = length - 2
        assert (masked[:, 0] == 2).all()
        assert (masked[:, -1] == 3).all()
        masked = masked[:, 1:-1]
    assert masked.ravel().tolist() == stream[: len(stream) // inner * inner]

    causal = packed(tokenizer, texts, "causal_lm", length)
    assert causal.dtype == np.int32
    assert causal.shape[1] == length + 1
    # The last token of a block is the first of the next: every token but one is predicted once.
    assert (causal[1:, 0] == causal[:-1, -1]).all()
    joined = [*causal[:, :-1].ravel().tolist(), *causal[-1:, -1].tolist()]
    assert joined == stream[: len(joined)]
    assert len(stream) - len(joined) < length + (len(causal) == 0)


@given(PROSE, st.integers(1, 30), st.integers(2, 40), st.sampled_from(["wordpiece", "bpe"]))
@settings(max_examples=80)
def test_a_document_is_cut_by_its_characters_alone(tokenizers, text, chunk, size, kind) -> None:
    whole = documents.PIECE
    try:
        documents.PIECE = size
        pieces = list(cut([text]))
        in_chunks = list(cut(text[i : i + chunk] for i in range(0, len(text), chunk)))
    finally:
        documents.PIECE = whole
    assert pieces == in_chunks
    assert "".join(piece.text for piece in pieces) == text
    assert all(len(piece.text) <= size for piece in pieces)
    assert [piece.last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    # Where every cut is at the end of a line without spaces around it, no tokenizer can tell.
    ends = [piece.text[-2:] + after.text[:1] for piece, after in pairwise(pieces)]
    if all(end[1:2] == "\n" and not end[0].isspace() and not end[2].isspace() for end in ends):
        tokens = tokenizers[kind].pieces([piece.text for piece in pieces])
        assert np.concatenate(tokens).tolist() == tokenizers[kind].pieces([text])[0].tolist()


def test_long_documents_are_read_in_pieces(load, tmp_path, monkeypatch) -> None:
    lines = [" ".join(WORDS[i % 7 :]) + ("\n", "\n\n", " \n\n\n")[i % 3] for i in range(400)]
    (tmp_path / "long.txt").write_text("".join(lines), encoding="utf-8")
    for kind in ("wordpiece", "bpe"):
        for objective in ("masked_lm", "causal_lm"):
            if (kind, objective) == ("bpe", "masked_lm"):
                continue
            expected = load(tmp_path / "long.txt", objective, kind)
            monkeypatch.setattr(documents, "PIECE", 200)
            monkeypatch.setattr(packing, "_TOKENS", 50)
            pieces = list(documents.Files([tmp_path / "long.txt"]).pieces(np.arange(1)))
            assert len(pieces) > 80
            assert load(tmp_path / "long.txt", objective, kind).fingerprint == expected.fingerprint
            monkeypatch.undo()


def test_a_folder_is_its_files_sorted_each_a_document(load, tmp_path, tokenizers) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.txt").write_text(f"the {name} cat sat on a mat", encoding="utf-8")
    (tmp_path / ".hidden").write_text("no")
    blocks = load(tmp_path, "causal_lm", text={"length": 4})
    stream = stream_of(tokenizers["bpe"], [f"the {n} cat sat on a mat" for n in "abc"])
    assert blocks.x[:, :-1].ravel().tolist() == stream[: len(blocks) * 4]
    assert blocks.given_test is None
    assert blocks.source_rows is None
    assert blocks.class_names == ()
    assert (blocks.tokens.widths, blocks.outputs) == ((4,), blocks.tokens.vocabulary)
    assert blocks.y.tolist() == [0] * len(blocks)
    assert blocks.y.dtype == np.int64
    assert blocks.input_shape(Data().transform) == (4,)


def test_a_test_file_is_packed_on_its_own(load, tmp_path, tokenizers) -> None:
    parts = {"train": "the cat sat " * 9, "val": "on a mat " * 5, "test": "so did dogs, " * 8}
    for name, text in parts.items():
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    blocks = load(tmp_path, "causal_lm")
    test = stream_of(tokenizers["bpe"], [parts["test"]])
    assert blocks.x[blocks.given_test][:, :-1].ravel().tolist() == test[: len(test) - 1 & ~7]
    training = stream_of(tokenizers["bpe"], [parts["train"], parts["val"]])
    others = np.setdiff1d(np.arange(len(blocks)), blocks.given_test)
    assert blocks.x[others][:, :-1].ravel().tolist() == training[: (len(training) - 1) // 8 * 8]
    (tmp_path / "test.txt").write_text("so did", encoding="utf-8")
    with pytest.raises(DataError, match=r"the test texts have \d+ tokens, which fill 0 blocks of"):
        load(tmp_path, "causal_lm")


def rows(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"text": f"{WORDS[i % 9]} cat sat on a mat", "who": i // 2, **more}
            for i in range(count)]  # fmt: skip


def test_labels_are_not_needed_and_excluded_documents_are_not_read(
    load, tmp_path, tokenizers
) -> None:
    path = tables.write("csv", tmp_path / "t.csv", rows(12))
    texts = [row["text"] for row in rows(12)]
    exclude = np.array([0, 3, 4])
    blocks = load(path, "causal_lm", exclude=exclude)
    stream = stream_of(tokenizers["bpe"], [t for i, t in enumerate(texts) if i not in exclude])
    assert blocks.x[:, :-1].ravel().tolist() == stream[: len(blocks) * 8]
    # With groups, the other texts of an excluded one's author are left out with it.
    grouped = load(path, "causal_lm", exclude=exclude, groups="who")
    stream = stream_of(tokenizers["bpe"], [t for i, t in enumerate(texts) if i > 5])
    assert grouped.x[:, :-1].ravel().tolist() == stream[: len(grouped) * 8]
    assert grouped.groups is None


def test_both_texts_of_a_pair_are_documents(load, tmp_path, tokenizers) -> None:
    pairs = [{"a": f"the cat {i}", "b": f"sat on {i}"} for i in range(9)]
    path = tables.write("csv", tmp_path / "t.csv", pairs)
    blocks = load(path, "causal_lm", text={"length": 8, "columns": ["a", "b"]})
    stream = stream_of(tokenizers["bpe"], [text for row in pairs for text in row.values()])
    assert blocks.x[:, :-1].ravel().tolist() == stream[: len(blocks) * 8]


def test_a_limit_chooses_blocks_and_there_are_no_classes(load, tmp_path) -> None:
    path = tables.write("csv", tmp_path / "t.csv", rows(60))
    every, some = (load(path, "causal_lm", limit=limit) for limit in (None, 10))
    assert len(some) == 10
    assert {tuple(block) for block in some.x} <= {tuple(block) for block in every.x}
    with pytest.raises(SpecError, match="objective = 'causal_lm' there are no classes"):
        load(path, "causal_lm", classes=[0, 1])


@pytest.mark.parametrize("objective", ["masked_lm", "causal_lm"])
def test_too_little_text_is_counted(load, tmp_path, objective) -> None:
    (tmp_path / "a.txt").write_text("the cat sat", encoding="utf-8")
    kind = "wordpiece" if objective == "masked_lm" else "bpe"
    message = r"the texts have \d tokens, which fill 0 blocks of data.text.length = 8; at least 2"
    with pytest.raises(DataError, match=message):
        load(tmp_path / "a.txt", objective, kind)
    (tmp_path / "a.txt").write_bytes(b"")
    with pytest.raises(DataError, match="the texts have 0 tokens"):
        load(tmp_path / "a.txt", objective, kind)


def test_masked_needs_a_mask_token(load, tmp_path) -> None:
    (tmp_path / "a.txt").write_text("the cat sat on a mat " * 9, encoding="utf-8")
    with pytest.raises(SpecError, match="needs a tokenizer with a mask token"):
        load(tmp_path / "a.txt", "masked_lm", "bpe")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda f: None, "is empty; expected .txt files"),
        (lambda f: (f / "a.md").write_text("x"), "a.md: not a .txt file; expected a folder of"),
        (lambda f: (f / "deeper").mkdir(), "deeper: not a .txt file"),
        (lambda f: (f / "a.txt").write_bytes(b"one\ntwo \xff\n"), "a.txt: line 2 is not UTF-8"),
        (lambda f: (f / "a.txt").write_bytes(b"one\n\n\xe2\x82"), "a.txt: line 3 is not UTF-8"),
        (lambda f: (f / "a.txt").symlink_to("/etc/hostname"), "a symbolic link that leads out of"),
        (lambda f: (f / "a.txt").symlink_to("nowhere"), "a symbolic link that leads nowhere"),
        (lambda f: [(f / f"{n}.txt").write_text("x") for n in ("train", "dev")],
         "dev.txt: it is unclear what it is for; expected train.txt"),
    ],
)  # fmt: skip
def test_unusable_folders_are_refused(load, tmp_path, prepare, message) -> None:
    prepare(tmp_path)
    with pytest.raises(DataError, match=message):
        load(tmp_path, "causal_lm")


def test_a_line_that_is_not_utf8_is_found_across_chunks(load, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(documents, "_CHUNK", 5)
    monkeypatch.setattr("paribus.data.tables.encoding._CHUNK", 3)
    (tmp_path / "a.txt").write_bytes("ä€\n😀\n".encode() * 3 + b"\xf0\x9f\x98\n")
    with pytest.raises(DataError, match="line 7 is not UTF-8"):
        load(tmp_path / "a.txt", "causal_lm")


def test_a_byte_order_mark_is_no_text(tmp_path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfthe cat")
    assert list(documents.Files([tmp_path / "a.txt"]).pieces(np.arange(1))) == [
        Piece("the cat", True)
    ]


@pytest.mark.parametrize("memory", ["auto", "load", "stream"])
@pytest.mark.parametrize("shape", [(3,), (3, 2)])
def test_rows_are_the_same_in_memory_and_in_a_file(tmp_path, monkeypatch, memory, shape) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY", 100)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = Spool(shape, memory)
    assert made.finish().shape == (0, *shape)
    chunks = [np.arange(n * np.prod(shape)).reshape(n, *shape) for n in (2, 0, 5, 40, 1)]
    for chunk in chunks:
        made.append(chunk.astype(np.int32))
    found = made.finish()
    assert isinstance(found, Streamed) == (memory != "load")
    assert found.dtype == np.int32
    expected = np.concatenate(chunks)
    np.testing.assert_array_equal(found[:], expected)
    some = np.array([40, 3, 3, 0])
    np.testing.assert_array_equal(found[some], expected[some])
    # Whatever happens to this process, no file is left.
    assert list(tmp_path.iterdir()) == []


def test_a_large_corpus_is_the_same_data_set(load, tmp_path, monkeypatch) -> None:
    (tmp_path / "a.txt").write_text("the cat sat on a mat " * 99, encoding="utf-8")
    expected = load(tmp_path / "a.txt", "causal_lm")
    streamed = load(tmp_path / "a.txt", "causal_lm", memory="stream")
    np.testing.assert_array_equal(streamed.x[:], expected.x)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "full"))
    with pytest.raises(DataError, match=r"cannot be written to a temporary file in .* set TMPDIR"):
        load(tmp_path / "a.txt", "causal_lm", memory="stream")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
