"""What a published checkpoint has besides the network that is made of it.

A BERT is published with what its pretraining or its last task had on top. A network for another
task has a head of its own, or pools a text without the pooler, and leaves those tensors alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from paribus.architectures import Network

Array = npt.NDArray[Any]

# architecture → beginnings of names of what is on top of its body, for one objective or another
TOPS: dict[str, tuple[str, ...]] = {
    "bert": ("pooler.dense.", "cls.predictions.", "classifier."),
    "gpt2": ("score.",),
}


def without_other_heads(network: Network, tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Return tensors without those on top of the body that belong to another objective.

    A body is never left out: what is unknown in it is still the caller's to refuse.
    """
    tops = TOPS.get(network.architecture, ())
    return {
        name: array
        for name, array in tensors.items()
        if name in network.tensors or not name.startswith(tops)
    }
