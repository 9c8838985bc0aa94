"""Which tokens of a text a masked language model has to find, and what it reads in their place.

BERT's scheme (Devlin et al. 2019, section 3.1 and appendix A.1): of the tokens that are predicted,
80 % are replaced by the mask token, 10 % by a random one and 10 % stay. The draws of a row depend
on (seed, stream, epoch) and on its position in the epoch alone, so every backend and every resumed
run masks alike, and no plan needs those before it.
"""

from __future__ import annotations

import numpy as np

from paribus import draws
from paribus.data.dataset import Integers, Tokens
from paribus.errors import SpecError
from paribus.plan import Targets
from paribus.plan import Tokens as Numbers

# Shares of the predicted tokens up to which one is masked, and up to which it is masked or random.
MASKED, REPLACED = 0.8, 0.9


def targets(
    tokens: Tokens,
    rows: Numbers,
    seed: int,
    stream: str,
    epoch: int,
    positions: Integers,
    probability: float = 0.15,
) -> Targets:
    """Draw what is predicted in each row, and replace it.

    A row with m tokens that are neither special nor padding gets k = ⌊probability · m + ½⌋
    predictions, at least 1, without repetition, in ascending order. A row without any such token
    predicts its first token and keeps it, so that every row counts for something.

    Args:
        tokens: of the data set.
        rows: int32 [n, T], stored texts; −1 is padding.
        seed, stream, epoch: what the draws come from.
        positions: int64 [n], the rows' places in the epoch's order.
        probability: share of a row's tokens that are predicted, above 0, at most 1.

    Returns:
        Targets with tokens int32 [n, T], positions and labels int64 [n, M], counts int64 [n], where
        M = max(1, ⌊probability · T + ½⌋) is the most that a row can have.

    Raises:
        SpecError: the tokenizer has no mask token.
    """
    mask = require_mask(tokens)
    T = rows.shape[1]
    M = int(_predicted(probability, T))
    uniform = draws.uniform_rows(seed, stream, epoch, positions, T + 2 * M)
    order, kind, which = np.split(uniform, [T, T + M], axis=1)

    eligible = (rows >= 0) & ~np.isin(rows, np.array(tokens.special, dtype=np.int64))
    available = eligible.sum(axis=1)
    counts = np.where(available, _predicted(probability, available), 1)
    # The eligible places in a drawn order come first; 2 is above any draw.
    drawn = np.argsort(np.where(eligible, order, 2.0), axis=1, kind="stable")[:, :M]
    slots = np.arange(M)[None, :]
    real = slots < counts[:, None]
    places = np.sort(np.where(real, drawn, T), axis=1)
    places[available == 0] = 0
    # Places past the counts repeat the first.
    places = np.where(real, places, places[:, :1])
    labels = np.take_along_axis(rows, places, axis=1).astype(np.int64)

    read = np.select(
        [kind < MASKED, kind < REPLACED], [np.int64(mask), _random(tokens, which)], labels
    )
    row, slot = np.nonzero(real & (available > 0)[:, None])
    changed = rows.copy()
    changed[row, places[row, slot]] = read[row, slot]
    return Targets(changed, places.astype(np.int64), labels, counts.astype(np.int64))


def require_mask(tokens: Tokens) -> int:
    """Return the number of the mask token.

    Raises:
        SpecError: there is none.
    """
    if tokens.mask is None:
        raise SpecError(
            "objective = 'masked_lm' needs a tokenizer with a mask token, and this one has none; "
            "use data.tokenizer.kind = 'wordpiece' or another data.tokenizer.path, or objective = "
            "'causal_lm'"
        )
    return tokens.mask


def _predicted(probability: float, available: Integers | int) -> Integers:
    return np.maximum(1, np.floor(probability * np.asarray(available) + 0.5).astype(np.int64))


def _random(tokens: Tokens, uniform: draws.Floats) -> Integers:
    """Return numbers of the vocabulary's tokens that are not special, all equally probable."""
    special = np.array(tokens.special, dtype=np.int64)
    ordinary = max(1, tokens.vocabulary - len(special))
    index = np.minimum(np.floor(uniform * ordinary).astype(np.int64), ordinary - 1)
    # The i-th token that is not special has as many special ones before it as are below i when
    # each is lowered by the number of special ones before itself.
    return index + np.searchsorted(special - np.arange(len(special)), index, side="right")
