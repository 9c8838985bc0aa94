"""How close is equal: fixed numbers in float64, one's own noise in everything coarser.

In float64 a correct backend differs by rounding. A product of a few thousand terms rounds to some
1e-15 of its largest value, BatchNorm over a small batch and twenty to a hundred layers make that
1e-12, a gradient goes through them twice. The bounds are a hundred times that and more; a mistake
in a definition shows at 1e-6 and above, where there is anything to see at all.

Below float64 no fixed number is right: a network with ReLU or max-pooling differs from itself, on
another number of threads, by anything. So each backend is compared with itself, and two are equal
that are not much further from each other than the noisier of them is from itself.
"""

from __future__ import annotations

# quantity → largest relative difference in float64; see ``Distances``.
FIXED = {
    "forward_evaluation": 1e-10,
    "forward_training": 1e-10,
    "loss": 1e-10,
    "gradients": 1e-9,
    "losses": 1e-9,
    # A rate is read from a change of the weights, whose rounding is larger next to a small rate.
    "learning_rates": 1e-6,
    # Steps add rounding up, and Adam divides a gradient of nothing but rounding by its size.
    "weights": 1e-8,
    "slots": 1e-8,
    "statistics": 1e-8,
}

# Of one step from the same state: differences of weights are relative to how far they moved.
STEP = {"loss": 1e-10, "weights": 1e-7, "slots": 1e-8, "statistics": 1e-9}
ACTIVATION = 1e-10
GRADIENT = 1e-9

# Two runs of one backend are a sample of its noise, not its bound.
NOISE_FACTOR = 3.0
# The same in float64, where every step by itself has been found equal first: what is left to see
# is that a difference has grown as rounding grows there, which two runs show to an order or so.
GROWN_FACTOR = 30.0
# A few units in the last place (2⁻²³ and 2⁻⁷), where a backend happens to have no noise at all.
FLOOR = {"float32": 4 * 2.0**-23, "float64": 4 * 2.0**-52, "bfloat16": 4 * 2.0**-7}
# Where it could not be compared with its own float64: other threads and another order of rows do
# not change a forward pass, so that noise of 0 says nothing about another backend's kernels.
BLIND_FLOOR = {"float32": 100 * 2.0**-23, "float64": 100 * 2.0**-52, "bfloat16": 16 * 2.0**-7}
# Noise above this share of a value leaves nothing to compare.
DROWNED = 0.1
# Of a learning rate below float64: weights are rounded, next to which their change may be small.
RATE_FLOOR = 1e-3
