"""What metrics are computed from: sums and counts to which the parts of a data set add.

Nothing here is a mean of means, so any cut into parts gives the same figures up to the rounding
of float64 sums, and memory does not grow with the rows. The one exception is the area under the
ROC curve, which depends on the order of all scores: it keeps them.

A tally is made for a number of classes (outputs for regression), takes ``Part``s, and answers
once it has at least one row. Arithmetic is float64; outputs of classifiers are logits.
"""

from __future__ import annotations

from paribus.tallies.classes import Calibration, ClassCounts, Curve, Likelihood, Ranks
from paribus.tallies.numbers import Errors
from paribus.tallies.part import Part, Tally

__all__ = ["Calibration", "ClassCounts", "Curve", "Errors", "Likelihood", "Part", "Ranks", "Tally"]
