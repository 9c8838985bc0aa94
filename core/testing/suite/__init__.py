"""Every check and every fixture; ``from paribus.testing.suite import *`` in a test file.

``paribus.testing`` says how, and what the outcomes mean. The checks, by subject:

    descriptor   what is known before the framework is imported, and what is refused by name
    golden       scenes against golden tensors: architectures, objectives, texts, rules, decay,
                 clipping, frozen, inputs, shards, padding, dropout
    arithmetic   identities of shards and padding; the constants that frameworks differ in
    dropout      masks, value by value
    precision    float32, bfloat16 and ``fast`` against float64
    state        weights and optimizer state in and out, stopping and going on
    evaluation   sums, predictions, and that looking changes nothing
    activations  what nodes compute, where it can be observed
    replicas     many trainings as one computation, where that is claimed
    parts        a network cut in two, body and tail
    sessions     repeats, chunks, independence, closing, what crosses
"""

from types import FunctionType

from paribus.testing.suite import (
    activations,
    arithmetic,
    descriptor,
    dropout,
    evaluation,
    fixtures,
    golden,
    parts,
    precision,
    replicas,
    sessions,
    state,
)

_CHECKS = (
    descriptor, golden, arithmetic, dropout, precision, state, evaluation, activations, parts,
    replicas,
    sessions,
)  # fmt: skip

__all__ = ["backend", "bench", "conformance", "device", "known_failures"]

backend, device, known_failures = fixtures.backend, fixtures.device, fixtures.known_failures
bench, conformance = fixtures.bench, fixtures.conformance

# One namespace for all modules: a check's function is exported under its module's name, too.
for _module in _CHECKS:
    for _name, _check in list(vars(_module).items()):
        if isinstance(_check, FunctionType) and _name.startswith("test_"):
            _exported = f"test_{_module.__name__.rpartition('.')[2]}_{_name.removeprefix('test_')}"
            globals()[_exported] = _check
            __all__ += [_exported]

# What the loop leaves behind is none of the namespace.
del _module, _name, _check, _exported
