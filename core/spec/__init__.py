"""The experiment spec: its sections, loading, changing and writing it."""

from __future__ import annotations

from paribus.spec.dump import dumps
from paribus.spec.load import load
from paribus.spec.merge import get_path, merge, set_path
from paribus.spec.paths import absolute
from paribus.spec.schema import schema
from paribus.spec.sections import Spec
from paribus.spec.starter import starter
from paribus.spec.variants import assign, variant

__all__ = [
    "Spec",
    "absolute",
    "assign",
    "dumps",
    "get_path",
    "load",
    "merge",
    "schema",
    "set_path",
    "starter",
    "variant",
]
