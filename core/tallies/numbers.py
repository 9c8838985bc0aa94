"""The tally of predicted numbers, and the metrics that it answers."""

from __future__ import annotations

import numpy as np

from paribus.tallies.part import Part, Tally


class Errors(Tally):
    """Of each output: sums of squared and absolute errors, and the labels' variation.

    The variation about the mean is merged part by part (Chan, Golub, LeVeque 1979), which does
    not cancel where the mean is large. It is taken of labels less the first row's: of labels that
    are all equal it is then exactly 0.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.rows = 0
        self.squared, self.absolute, self.mean, self.variation = np.zeros((4, classes))

    def add(self, part: Part) -> None:
        """Add the part's errors and labels."""
        if self.rows == 0:
            self.first = part.labels[0].copy()
        errors, labels = part.outputs - part.labels, part.labels - self.first
        self.squared += np.square(errors).sum(axis=0)
        self.absolute += np.abs(errors).sum(axis=0)
        mean, rows = labels.mean(axis=0), self.rows + len(labels)
        apart = mean - self.mean
        self.variation += np.square(labels - mean).sum(axis=0)
        self.variation += np.square(apart) * (self.rows * len(labels) / rows)
        self.mean += apart * (len(labels) / rows)
        self.rows = rows

    def mean_squared_error(self) -> float:
        """Return the mean over rows and outputs of (output − label)², in the labels' units²."""
        return float(self.squared.mean() / self.rows)

    def mean_absolute_error(self) -> float:
        """Return the mean over rows and outputs of |output − label|, in the labels' units."""
        return float(self.absolute.mean() / self.rows)

    def r2(self) -> float | None:
        """Return the mean over outputs of 1 − Σ(label − output)² / Σ(label − mean)².

        An output whose labels are all equal counts 1 where every error is 0, else 0. None for
        fewer than two rows. As scikit-learn's ``r2_score``.
        """
        if self.rows < 2:
            return None
        constant = np.where(self.squared == 0, 1.0, 0.0)
        # NaN, where the labels are too large to be squared, differs from 0 and stays.
        varies = self.variation != 0
        share = np.divide(self.squared, self.variation, out=1 - constant, where=varies)
        return float((1 - share).mean())
