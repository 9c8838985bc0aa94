"""Tallies of predicted classes and tokens, and the metrics that they answer."""

from __future__ import annotations

import numpy as np

from paribus.draws import Floats
from paribus.plan import Integers, Sums
from paribus.tallies.part import Part, Tally

BINS = 15


class Likelihood(Tally):
    """What an adapter's ``Sums`` hold; a row's loss is −log p of its label."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.loss, self.correct, self.predictions = 0.0, 0, 0

    def add(self, part: Part) -> None:
        """Add the part's losses and right predictions."""
        losses = np.log(part.totals) - part.own(part.shifted)
        self.merge(Sums(float(losses.sum()), int(part.right.sum()), len(part.labels)))

    def merge(self, sums: Sums) -> None:
        """Add what was summed elsewhere."""
        self.loss += sums.loss
        self.correct += sums.correct
        self.predictions += sums.predictions

    def accuracy(self) -> float:
        """Return the share of predictions that are right (scikit-learn's ``accuracy_score``)."""
        return self.correct / self.predictions

    def log_loss(self) -> float:
        """Return the mean −log p(label), natural logarithm (scikit-learn's ``log_loss``).

        From logits, so nothing is clipped: logits of ±1e4 give losses of up to 2e4.
        """
        return self.loss / self.predictions

    def perplexity(self) -> float:
        """Return exp(mean −log p(token)) over the predicted tokens (Jelinek et al. 1977)."""
        return float(np.exp(self.loss / self.predictions))


class ClassCounts(Tally):
    """Of each class: rows that have it, rows that were given it, and rows where both agree.

    These are the margins and the diagonal of the confusion matrix, without its C² cells.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.having, self.given, self.agreeing = np.zeros((3, classes), dtype=np.int64)

    def add(self, part: Part) -> None:
        """Count the part's rows."""
        self.having += np.bincount(part.labels, minlength=self.classes)
        self.given += np.bincount(part.best, minlength=self.classes)
        self.agreeing += np.bincount(part.labels[part.right], minlength=self.classes)

    def balanced_accuracy(self) -> float:
        """Return the mean recall of the classes that occur (Brodersen et al. 2010).

        As scikit-learn's ``balanced_accuracy_score``, not adjusted for chance.
        """
        occurs = self.having > 0
        return float((self.agreeing[occurs] / self.having[occurs]).mean())

    def macro_f1(self) -> float:
        """Return the mean over classes of 2·P·R / (P + R), with 0 where P + R is 0.

        Over the classes that occur among labels or predictions, as scikit-learn's ``f1_score``
        with ``average="macro"``; P precision, R recall (Van Rijsbergen 1979).
        """
        either = self.having + self.given
        seen = either > 0
        return float((2 * self.agreeing[seen] / either[seen]).mean())


class Ranks(Tally):
    """How often the label's logit came first, second, … C-th in its row."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.counts = np.zeros(classes, dtype=np.int64)

    def add(self, part: Part) -> None:
        """Count the part's rows."""
        own, labels = part.own(part.outputs)[:, np.newaxis], part.labels[:, np.newaxis]
        numbers = np.arange(self.classes)
        # scikit-learn sorts upwards and reads from the end, so a later class is before its equal;
        # of two classes, it takes class 1 only if that has more.
        before = numbers > labels if self.classes > 2 else numbers < labels
        ahead = (part.outputs > own) | ((part.outputs == own) & before)
        self.counts += np.bincount(ahead.sum(axis=1), minlength=self.classes)

    def top(self, k: int) -> float:
        """Return the share of rows whose label is among the k largest logits.

        Ties as scikit-learn's ``top_k_accuracy_score`` breaks them.
        """
        return float(self.counts[:k].sum() / self.counts.sum())


class Calibration(Tally):
    """Rows, right rows and top probabilities by bin of the top probability."""

    # The m-th bin is ((m − 1)/15, m/15].
    _ends = np.arange(1, BINS + 1) / BINS

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.rows, self.right, self.confidence = np.zeros((3, BINS))

    def add(self, part: Part) -> None:
        """Count the part's rows."""
        top = 1 / part.totals
        bins = np.searchsorted(self._ends, top, side="left")
        self.rows += np.bincount(bins, minlength=BINS)
        self.right += np.bincount(bins, weights=part.right, minlength=BINS)
        self.confidence += np.bincount(bins, weights=top, minlength=BINS)

    def error(self) -> float:
        """Return the expected calibration error: Σ over bins of |right − Σ top probability| / n.

        Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017,
        equation 3, with 15 bins of equal width.
        """
        return float(np.abs(self.right - self.confidence).sum() / self.rows.sum())


class Curve(Tally):
    """All scores and labels: 8·C bytes a row (8 for two classes), beside the labels."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.scores: list[Floats] = []
        self.labels: list[Integers] = []

    def add(self, part: Part) -> None:
        """Keep the part's scores."""
        self.labels.append(part.labels.copy())
        if self.classes == 2:
            # In the order of class 1's probability, but without its ties where that rounds to 1.
            self.scores.append(part.outputs[:, 1] - part.outputs[:, 0])
        else:
            self.scores.append(part.exponentials / part.totals[:, np.newaxis])

    def area(self) -> float | None:
        """Return the area under the ROC curve, or None while a class has no row.

        Two classes: of class 1. More: the mean over classes of the area of each one's probability
        against all others (Provost and Domingos 2000 without their weights); scikit-learn's
        ``roc_auc_score`` with ``multi_class="ovr"``.
        """
        labels, scores = np.concatenate(self.labels), np.concatenate(self.scores)
        if self.classes < 2 or len(np.unique(labels)) < self.classes:
            return None
        # imported here: it takes a second, and most runs do not ask for it
        from sklearn.metrics import roc_auc_score

        return float(roc_auc_score(labels, scores, multi_class="ovr"))
