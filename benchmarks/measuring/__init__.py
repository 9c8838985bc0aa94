"""Measuring contenders against each other, and writing down what was found and where.

What is compared takes turns in one run, because what else a machine does changes from minute to
minute; figures of two runs say little about each other.
"""

from measuring.contenders import Contender, Run, Turn
from measuring.interleaving import Measured, interleaved
from measuring.machine import hardware, versions
from measuring.processes import Child, ChildFailed
from measuring.reports import Bars, Lines, Report, Table

__all__ = [
    "Bars",
    "Child",
    "ChildFailed",
    "Contender",
    "Lines",
    "Measured",
    "Report",
    "Run",
    "Table",
    "Turn",
    "hardware",
    "interleaved",
    "versions",
]
