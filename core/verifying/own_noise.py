"""How far a backend is from itself: other threads, another order of rows, its own float64.

The first two change the order of additions and nothing else; the third has none of the rounding
that is judged. Two right backends are each as far from the exact result as they are from their own
float64, and so no further from each other than the two together.
"""

from __future__ import annotations

from paribus.adapter import Precision
from paribus.verifying.distances import Distances, between, largest
from paribus.verifying.observing import Observation, observe
from paribus.verifying.party import Party
from paribus.verifying.subject import Subject


def own_noise(
    party: Party, subject: Subject, precision: Precision, usual: Observation
) -> tuple[Distances, dict[str, Distances]]:
    """Return the largest distances of a backend from itself, and those of each kind by name.

    Args:
        party: the backend.
        subject: as it was observed.
        precision: as it was observed in.
        usual: what was observed.
    """
    found: dict[str, Distances] = {}
    with party.on_other_threads() as other:
        found["threads"] = _distance(other, subject, precision, usual)
    reordered = subject.reordered()
    if reordered is not None:
        found["order"] = _distance(party, reordered, precision, usual)
    if precision != "float64" and party.refusal(subject, "float64") is None:
        with party.open(subject, "float64") as session:
            exact = observe(session, subject, "float64")
        found["float64"] = between(exact, usual)
    return largest(list(found.values())), found


def _distance(
    party: Party, subject: Subject, precision: Precision, usual: Observation
) -> Distances:
    with party.open(subject, precision) as session:
        return between(usual, observe(session, subject, precision))
