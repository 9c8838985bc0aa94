"""A tokenizer made for the data: WordPiece as BERT's, or byte-level BPE as GPT-2's.

The library's trainers do the work, but WordPiece's gives a new answer in every process: it numbers
the characters within words in the order of a hash table with a random seed, and those numbers break
ties. So here all characters are chosen and numbered first, by how often they occur, and handed to
the trainer as tokens that it has already. The same texts then give the same JSON each time.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from paribus.data.tokenizer import Tokenizer, explained
from paribus.data.tokenizer_files import frame

if TYPE_CHECKING:
    from paribus.spec.data import Tokenizer as Section

Pieces = Callable[[], Iterator[str]]

WORDPIECE_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
BPE_TOKENS = ("<|endoftext|>",)

_PREFIX = "##"
# A pair of tokens that occurs once teaches nothing about other texts.
_LEAST = 2
_CHARACTERS = 0x110000
# BERT makes each of these a word of its own, so they never continue one.
_ALONE = (*string.punctuation, *map(chr, range(0x3400, 0x4DC0)), *map(chr, range(0x4E00, 0xA000)))


def train(pieces: Pieces, section: Section) -> Tokenizer:
    """Return a tokenizer of at most ``section.vocabulary`` tokens for the texts of ``pieces()``.

    WordPiece has BERT's normaliser and special tokens, and puts [CLS] and [SEP] around texts and
    pairs. Byte-level BPE knows every text; <|endoftext|> stands between the two of a pair.

    Args:
        pieces: returns the texts from the first on, each time it is called.
        section: ``data.tokenizer`` of the spec.
    """
    with explained("training a tokenizer"):
        return Tokenizer(_TRAINERS[section.kind](pieces, section))


def _wordpiece(pieces: Pieces, section: Section) -> str:
    from tokenizers import Tokenizer as Rust
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    rust = Rust(models.WordPiece(unk_token=WORDPIECE_TOKENS[1]))
    rust.normalizer = normalizers.BertNormalizer(lowercase=section.lowercase)
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rust.decoder = decoders.WordPiece(prefix=_PREFIX)
    alphabet = _alphabet(map(rust.normalizer.normalize_str, pieces()), section.vocabulary // 4)
    within = [_PREFIX + character for character in sorted(set(alphabet).difference(_ALONE))]
    trainer = trainers.WordPieceTrainer(
        vocab_size=section.vocabulary,
        min_frequency=_LEAST,
        special_tokens=[*WORDPIECE_TOKENS, *within],
        initial_alphabet=alphabet,
        # Those of the initial alphabet stay whatever their number, all others go.
        limit_alphabet=len(alphabet),
        continuing_subword_prefix=_PREFIX,
        show_progress=False,
    )
    rust.train_from_iterator(pieces(), trainer)
    frame(rust, "[CLS]", "[SEP]", "{0} $A {1} $B:1 {1}:1")
    document = json.loads(rust.to_str())
    # The trainer has marked `within` as special tokens, which they are not.
    document["added_tokens"] = [
        token for token in document["added_tokens"] if token["content"] in WORDPIECE_TOKENS
    ]
    return json.dumps(document, ensure_ascii=False)


def _bpe(pieces: Pieces, section: Section) -> str:
    from tokenizers import Tokenizer as Rust
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers

    rust = Rust(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=section.vocabulary,
        min_frequency=_LEAST,
        special_tokens=list(BPE_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    rust.train_from_iterator(pieces(), trainer)
    separator = BPE_TOKENS[0]
    rust.post_processor = processors.TemplateProcessing(
        single="$A",
        pair=f"$A {separator} $B:1",
        special_tokens=[(separator, rust.token_to_id(separator))],
    )
    return str(rust.to_str())


_TRAINERS: Mapping[str, Callable[[Pieces, Section], str]] = {"wordpiece": _wordpiece, "bpe": _bpe}


def _alphabet(texts: Iterable[str], most: int) -> list[str]:
    """Return the ``most`` most frequent characters that are no space, sorted by their number."""
    counts = np.zeros(_CHARACTERS, dtype=np.int64)
    for batch in _joined(texts):
        found = np.frombuffer(batch.encode("utf-32-le"), dtype="<u4")
        characters, times = np.unique(found, return_counts=True)
        counts[characters] += times
    # Stable, so that among equally frequent ones the lower number stays.
    order = np.argsort(-counts, kind="stable")
    there = (chr(number) for number in order[: np.count_nonzero(counts)])
    return sorted(islice((character for character in there if not character.isspace()), most))


def _joined(texts: Iterable[str]) -> Iterator[str]:
    held: list[str] = []
    size = 0
    for text in texts:
        held.append(text)
        size += len(text)
        if size >= _CHARACTERS:
            yield "".join(held)
            held, size = [], 0
    yield "".join(held)
