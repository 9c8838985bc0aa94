"""What a difference looks like: hypotheses about one changed definition, tested in float64 NumPy.

Each hypothesis predicts what a backend would have computed had it used another definition. It
counts only where its prediction meets what the backend did compute, all but a ten-thousandth of
the difference; anything else stays unexplained, with its numbers.
"""

from paribus.verifying.explaining.explanation import Explanation, Guess, explain

__all__ = ["Explanation", "Guess", "explain"]
