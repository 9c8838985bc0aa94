"""From texts to token numbers and back, by the rules of a ``tokenizer.json``.

The file is data: a vocabulary and a list of rules that the ``tokenizers`` library knows by name. It
is checked before that library sees it, which ends the process when it runs out of memory. How long
texts may be and how they are padded is ours to say: that part of the file is ignored. So is the
dropout of BPE, which would cut the same text differently each time.

A tokenizer is its JSON text: what a run stores is enough to read texts as in training.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from paribus.data.dataset import Tokens
from paribus.data.tokenizer_rules import require_modest
from paribus.errors import DataError

if TYPE_CHECKING:
    from tokenizers import Encoding

Numbers = npt.NDArray[np.int32]
Texts = Sequence[str] | Sequence[tuple[str, str]]

# What a special token is called where no file says it, the first that the vocabulary has.
USUAL: Mapping[str, tuple[str, ...]] = {
    "pad": ("[PAD]", "<pad>", "<|pad|>"),
    "unk": ("[UNK]", "<unk>"),
    "cls": ("[CLS]", "<s>"),
    "sep": ("[SEP]", "</s>"),
    "mask": ("[MASK]", "<mask>"),
    "bos": ("<s>", "<bos>", "<|begin_of_text|>"),
    "eos": ("<|endoftext|>", "</s>", "<eos>", "<|end_of_text|>"),
}
# As many as a network's table may have rows.
MAXIMUM_VOCABULARY = 10_000_000
# Texts that go to the library at once: enough for all cores; encodings take 100 bytes a token.
_BATCH_TEXTS = 1024
_BATCH_CHARACTERS = 1 << 20


class Tokenizer:
    """A tokenizer, ready for use.

    Attributes:
        json: the text of its ``tokenizer.json``, without truncation, padding and dropout.
        vocabulary: how many tokens it knows: the highest number and one.
        special: numbers, ascending, that are no part of a text: special tokens, and gaps.
        roles: the numbers of special tokens, by what they are for (a key of ``USUAL``).

    Raises:
        DataError: damaged, or no rules that can be used; the message begins with ``origin``.
    """

    def __init__(
        self, text: str, names: Mapping[str, str] | None = None, origin: str = "tokenizer"
    ) -> None:
        from tokenizers import Tokenizer as Rust

        self.origin = origin
        document = _parsed(text, origin)
        document["truncation"] = document["padding"] = None
        if "dropout" in document["model"]:
            document["model"]["dropout"] = None
        self.json = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        with explained(origin):
            self._rust = Rust.from_str(self.json)
            numbers = self._rust.get_vocab(with_added_tokens=True)
        self.vocabulary = vocabulary_size(numbers, origin)
        usual = {role: _first(numbers, tokens) for role, tokens in USUAL.items()}
        named = {role: numbers.get(name) for role, name in (names or {}).items()}
        found = usual | {role: number for role, number in named.items() if number is not None}
        self.roles = {role: number for role, number in found.items() if number is not None}
        marked = {
            numbers[token["content"]]
            for token in document.get("added_tokens") or ()
            if token.get("special") and token["content"] in numbers
        }
        gaps = set(range(self.vocabulary)).difference(numbers.values())
        self.special = tuple(sorted({*self.roles.values(), *gaps, *marked}))
        # What stands for a text without any token; from the JSON alone, which is what is stored.
        own = numbers.get(str(document["model"].get("unk_token")))
        choices = (usual["eos"], usual["unk"], own, *self.special, 0)
        self._filler = next(number for number in choices if number is not None)

    @property
    def mask(self) -> int | None:
        """The number of the mask token; None where there is none."""
        return self.roles.get("mask")

    @property
    def separator(self) -> int | None:
        """The number of what stands between documents; None where there is none."""
        return self.roles.get("eos", self.roles.get("sep"))

    @property
    def frame(self) -> tuple[int, int] | None:
        """The numbers of what stands at a text's start and end; None where they are not both."""
        if "cls" in self.roles and "sep" in self.roles:
            return self.roles["cls"], self.roles["sep"]
        return None

    def tokens(self, widths: tuple[int, ...]) -> Tokens:
        """Return what a data set of these tokens knows about them."""
        return Tokens(self.json, self.vocabulary, self.mask, self.special, widths)

    def encode(self, texts: Texts, length: int) -> Numbers:
        """Return texts as token numbers with the tokenizer's own start and end, cut to ``length``.

        A text without any token gets one, so that no row is empty. Of pairs the longer text is cut
        first.

        Args:
            texts: N texts, or N pairs.
            length: tokens of a row.

        Returns:
            int32 [N, length], or for pairs [N, length, 2] with each token's segment, 0 or 1, as the
            tokenizer says it. Token numbers are −1 past the end, segments 0.

        Raises:
            DataError: the tokenizer cannot read a text, or ``length`` leaves no room for it.
        """
        pairs = len(texts) > 0 and not isinstance(texts[0], str)
        rows = np.zeros((len(texts), length, 2) if pairs else (len(texts), length), dtype=np.int32)
        numbers = rows[..., 0] if pairs else rows
        numbers[:] = -1
        with explained(self.origin):
            self._rust.enable_truncation(length, strategy="longest_first")
        row = 0
        for batch in _batches(texts):
            for encoding in self._encoded(batch, special=True):
                found = encoding.ids
                if len(found) > length:
                    raise DataError(
                        f"data.text.length = {length}: {self.origin} puts more tokens than that "
                        f"around a text ({len(found)} with the text); use a longer one"
                    )
                numbers[row, : len(found)] = found
                if not found:
                    numbers[row, 0] = self._filler
                elif pairs:
                    rows[row, : len(found), 1] = self._segments(encoding)
                row += 1
        return rows

    def pieces(self, texts: Sequence[str]) -> list[Numbers]:
        """Return the tokens of each text, int32, nothing cut and nothing put around them.

        Raises:
            DataError: the tokenizer cannot read a text.
        """
        with explained(self.origin):
            self._rust.no_truncation()
        return [
            np.array(encoding.ids, dtype=np.int32)
            for batch in _batches(texts)
            for encoding in self._encoded(batch, special=False)
        ]

    def decode(self, numbers: Numbers | Sequence[int]) -> str:
        """Return the text of token numbers, special tokens included; −1 is nothing."""
        with explained(self.origin):
            kept = [int(number) for number in numbers if number >= 0]
            return str(self._rust.decode(kept, skip_special_tokens=False))

    def token(self, number: int) -> str:
        """Return a token as it stands in the vocabulary; an empty text for a gap."""
        return self._rust.id_to_token(number) or ""

    def _encoded(self, texts: Texts, *, special: bool) -> list[Encoding]:
        # Without offsets where the library can do without; the numbers are the same. It works in
        # parallel on its own, unless TOKENIZERS_PARALLELISM says otherwise, and keeps the order.
        encode = getattr(self._rust, "encode_batch_fast", self._rust.encode_batch)
        with explained(self.origin):
            return list(encode(list(texts), add_special_tokens=special))

    def _segments(self, encoding: Encoding) -> list[int]:
        segments = encoding.type_ids
        if max(segments) > 1:
            raise DataError(
                f"{self.origin}: has segment {max(segments)}; a pair of texts has 0 and 1"
            )
        return segments


@contextmanager
def explained(origin: str) -> Iterator[None]:
    """Turn what the library raises into a DataError; a panic of Rust is no ``Exception``."""
    try:
        yield
    except (DataError, MemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise DataError(
            f"{origin}: the tokenizer cannot be used ({error}); it must be a whole tokenizer.json "
            "as the tokenizers library writes it"
        ) from error


def _parsed(text: str, origin: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
        # Half of a surrogate pair is in no text, and can stand in no file; this refuses it.
        json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{origin}: is not JSON ({error}); it must be a tokenizer.json as the tokenizers "
            "library writes it"
        ) from error
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise DataError(
            f"{origin}: has no model; it must be a tokenizer.json as the tokenizers library writes "
            "it"
        )
    require_modest(document, origin)
    words = document["model"].get("vocab")
    if isinstance(words, dict) and words:
        vocabulary_size(words, origin)
    return document


def vocabulary_size(numbers: Mapping[str, Any], origin: str) -> int:
    """Return how many numbers a vocabulary takes: the highest one and one.

    Raises:
        DataError: it is empty, holds something else, or a number far beyond the others: the library
            takes memory for all below it.
    """
    if not numbers:
        raise DataError(f"{origin}: knows no tokens")
    if not all(type(number) is int for number in numbers.values()):
        raise DataError(f"{origin}: has a token whose number is none; fetch it again")
    highest = max(numbers.values())
    # Published vocabularies leave out a few numbers at most.
    if min(numbers.values()) < 0 or highest >= min(MAXIMUM_VOCABULARY, 2 * len(numbers) + 65536):
        raise DataError(
            f"{origin}: has {len(numbers)} tokens with numbers up to {highest}; allowed: up to "
            f"{MAXIMUM_VOCABULARY - 1}, with few gaps"
        )
    return int(highest) + 1


def _first(numbers: Mapping[str, int], tokens: tuple[str, ...]) -> int | None:
    return next((numbers[token] for token in tokens if token in numbers), None)


def _batches(texts: Texts) -> Iterator[Texts]:
    start, characters = 0, 0
    for row, text in enumerate(texts):
        characters += len(text) if isinstance(text, str) else len(text[0]) + len(text[1])
        if characters >= _BATCH_CHARACTERS or row - start + 1 == _BATCH_TEXTS:
            yield texts[start : row + 1]
            start, characters = row + 1, 0
    if start < len(texts):
        yield texts[start:]
