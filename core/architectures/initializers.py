"""The published initialisations that the architectures use, from their fan-in or fan-out."""

from __future__ import annotations

from math import sqrt

from paribus.architectures.network import Initializer


def kaiming_normal(fan: int) -> Initializer:
    """He et al. 2015 for ReLU: normal with standard deviation √(2 / fan)."""
    return Initializer("normal", sqrt(2.0 / fan))


def kaiming_uniform(fan: int) -> Initializer:
    """He et al. 2015 for ReLU: uniform in ±√(6 / fan), the same variance 2 / fan."""
    return Initializer("uniform", sqrt(6.0 / fan))


def xavier_uniform(fan_in: int, fan_out: int) -> Initializer:
    """Glorot & Bengio 2010: uniform in ±√(6 / (fan_in + fan_out))."""
    return Initializer("uniform", sqrt(6.0 / (fan_in + fan_out)))


def fan_in_uniform(fan_in: int) -> Initializer:
    """Uniform in ±1/√fan_in (LeCun et al. 1998): the published models' linear layers."""
    return Initializer("uniform", 1.0 / sqrt(fan_in))


def zeros() -> Initializer:
    """All zero."""
    return Initializer("constant", 0.0)


def normal(deviation: float) -> Initializer:
    """Normal with a given standard deviation."""
    return Initializer("normal", deviation)
