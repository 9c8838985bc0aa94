"""How JAX says that memory is not there: in the words of its runtime's errors."""

from __future__ import annotations

import jax

from paribus.exhaustion import Exhaustion


def _says_so(error: BaseException) -> bool:
    # A status of its own where a buffer is asked for; where a computation asks, words alone.
    text = str(error)
    words = "RESOURCE_EXHAUSTED" in text or "Out of memory" in text
    return words and isinstance(error, jax.errors.JaxRuntimeError)


memory = Exhaustion("jax", _says_so)
