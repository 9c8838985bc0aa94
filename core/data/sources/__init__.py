"""The table of sources: a name in the spec → the function that finds its examples.

A new source is one module and one line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from paribus.architectures import Objective
from paribus.data.source import Source
from paribus.data.sources import digits, fashion_mnist, image_folder, npz, tables, text

if TYPE_CHECKING:
    from paribus.spec.data import Data

SOURCES: Mapping[str, Callable[[Data, Objective], Source]] = {
    "digits": digits.find,
    "fashion_mnist": fashion_mnist.find,
    "npz": npz.find,
    "image_folder": image_folder.find,
    "csv": tables.find,
    "jsonl": tables.find,
    "parquet": tables.find,
    "datasets": tables.find,
    "text": text.find,
}

__all__ = ["SOURCES", "Source"]
