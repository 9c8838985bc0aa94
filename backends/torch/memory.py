"""How PyTorch says that memory is not there.

On an accelerator it is an exception of its own. On a CPU its allocator, and the libraries that it
calls, raise a ``RuntimeError`` like any other, which only its words tell apart.
"""

from __future__ import annotations

import torch

from paribus.exhaustion import Exhaustion

_WORDS = ("can't allocate memory", "out of memory", "bad_alloc", "bad allocation", "alloc_failed")


def _says_so(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _WORDS)


# Around everything of a session that takes memory of the device.
memory = Exhaustion("torch", _says_so)
