"""Proof that backends train alike, or where and why they do not: ``paribus verify``.

    subject       a spec's training, one plan per optimizer step
    party         a backend in its own process
    observing     everything about one run that is compared
    distances     how far two runs are apart
    own_noise     how far a backend is from itself
    checks        PASS, FAIL or ABSTAIN, by ``tolerances``
    lockstep      the first step that differs, from the same state
    locating      the first stage and tensor of it that differs
    explaining    what was done instead of the definition

All of it speaks to sessions through the contract of an adapter, and names tensors canonically.
Nodes are used where there are any: of a model whose inside is unknown the comparison is the same,
and a difference of its outputs is named as such.
"""

from paribus.verifying.verification import Verification, verify

__all__ = ["Verification", "verify"]
