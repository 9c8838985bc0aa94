"""Choosing by measuring: what ``numerics = "fast"`` computes with, and how that is remembered.

No fixed choice is right: bfloat16 products make a ResNet faster and a small MLP slower, one order
of memory suits one convolution and not the next, and it depends on the machine. So an adapter names
what could be chosen, axis by axis, and how one of them is tried; the trying, the judging and the
remembering are here, without a framework.
"""

from paribus.tuning.choice import Choice, Setting, Settings, Tried, differences
from paribus.tuning.memory import Memory, cache_folder
from paribus.tuning.trying import Answer, Axes, Trial, choose
from paribus.tuning.tuning import Subject, Tuning

__all__ = [
    "Answer",
    "Axes",
    "Choice",
    "Memory",
    "Setting",
    "Settings",
    "Subject",
    "Trial",
    "Tried",
    "Tuning",
    "cache_folder",
    "choose",
    "differences",
]
