"""Each optimizer's formula, written once, for every framework's arrays.

Stock optimizers of two frameworks cannot be made to agree by settings (momentum that includes the
learning rate, decoupled against coupled decay, epsilon inside or outside the bias correction,
powers of β in single precision). So the update is ours. It uses only ``+ − × ÷`` and a square root
handed in by the adapter: the same lines run on NumPy, on tensors in a flat buffer, and inside a
traced graph, in the same order of operations.

Scalars are computed here in double precision, per step, and handed over in the plan: ``1 − β₂``
taken from a single-precision 0.999 is already 5e-5 off. A formula never combines two scalars.

    rule                 slots              source
    sgd                  –                  w ← w − lr·g, with coupled decay g ← g + λw
    sgd_momentum         momentum           Sutskever et al. 2013, PyTorch's form:
                                            b ← μb + g; w ← w − lr·b
    sgd_nesterov         momentum           w ← w − lr·(g + μb)
    adam                 mean, square       Kingma & Ba 2015, algorithm 1 (coupled decay)
    adamw                mean, square       Loshchilov & Hutter 2019: w ← w·(1 − lr·λ), then Adam
    rmsprop              square             Tieleman & Hinton 2012: w ← w − lr·g / (√v + ε)
    rmsprop_momentum     square, momentum   Graves 2013 without centring: b ← μb + g/(√v + ε)

Gradient descent is ``sgd`` on a batch that is the whole training set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from paribus.draws import Floats

Array = Any  # whatever the adapter computes with; only + − × ÷ are used on it
Scalars = Mapping[str, Any]
Update = Callable[
    [Array, Array, tuple[Array, ...], Scalars, bool, Callable[[Array], Array]],
    tuple[Array, tuple[Array, ...]],
]
Coefficients = Callable[[Mapping[str, float], Floats, Floats], dict[str, Floats]]


@dataclass(frozen=True)
class Rule:
    """One update rule.

    Attributes:
        name: key in ``RULES``.
        slots: names of the state arrays, each shaped like its parameter and zero at the start.
        scalars: names of the per-step scalars that ``update`` reads, ``learning_rate`` included.
        coefficients: ``(hyperparameters, learning rates [K], step numbers t [K] counted from 1)``
            → the scalars of each step, float64 [K] each.
        update: ``(w, g, slots, scalars, decay, sqrt)`` → ``(new w, new slots)``; ``decay`` says
            whether weight decay applies to this parameter. Pure: nothing is changed in place.
    """

    name: str
    slots: tuple[str, ...]
    scalars: tuple[str, ...]
    coefficients: Coefficients
    update: Update


def _constant(values: Mapping[str, float], name: str, like: Floats) -> Floats:
    return np.full_like(like, values[name])


def _sgd_coefficients(values: Mapping[str, float], rate: Floats, t: Floats) -> dict[str, Floats]:
    return {
        "learning_rate": rate,
        "weight_decay": _constant(values, "weight_decay", rate),
        "momentum": np.full_like(rate, values.get("momentum", 0.0)),
    }


def _sgd(
    w: Array, g: Array, slots: tuple[Array, ...], c: Scalars, decay: bool, sqrt: Any
) -> tuple[Array, tuple[Array, ...]]:
    if decay:
        g = g + c["weight_decay"] * w
    return w - c["learning_rate"] * g, ()


def _sgd_momentum(
    w: Array, g: Array, slots: tuple[Array, ...], c: Scalars, decay: bool, sqrt: Any
) -> tuple[Array, tuple[Array, ...]]:
    if decay:
        g = g + c["weight_decay"] * w
    buffer = c["momentum"] * slots[0] + g
    return w - c["learning_rate"] * buffer, (buffer,)


def _sgd_nesterov(
    w: Array, g: Array, slots: tuple[Array, ...], c: Scalars, decay: bool, sqrt: Any
) -> tuple[Array, tuple[Array, ...]]:
    if decay:
        g = g + c["weight_decay"] * w
    buffer = c["momentum"] * slots[0] + g
    return w - c["learning_rate"] * (g + c["momentum"] * buffer), (buffer,)


def _adam_coefficients(values: Mapping[str, float], rate: Floats, t: Floats) -> dict[str, Floats]:
    beta1, beta2 = values["beta1"], values["beta2"]
    # 1 − βᵗ without cancellation; β = 0 has no logarithm and no bias.
    correction1 = -np.expm1(t * np.log(beta1)) if beta1 > 0 else np.ones_like(t)
    correction2 = -np.expm1(t * np.log(beta2)) if beta2 > 0 else np.ones_like(t)
    return {
        "learning_rate": rate,
        "weight_decay": _constant(values, "weight_decay", rate),
        "keep": 1.0 - rate * values["weight_decay"],
        "beta1": np.full_like(rate, beta1),
        "beta2": np.full_like(rate, beta2),
        "new1": np.full_like(rate, 1.0 - beta1),
        "new2": np.full_like(rate, 1.0 - beta2),
        "step_size": rate / correction1,
        "root2": np.sqrt(correction2),
        "epsilon": _constant(values, "epsilon", rate),
    }


def _adam_direction(
    w: Array, g: Array, slots: tuple[Array, ...], c: Scalars, sqrt: Callable[[Array], Array]
) -> tuple[Array, tuple[Array, ...]]:
    mean = c["beta1"] * slots[0] + c["new1"] * g
    square = c["beta2"] * slots[1] + c["new2"] * (g * g)
    return w - c["step_size"] * (mean / (sqrt(square) / c["root2"] + c["epsilon"])), (mean, square)


def _adam(
    w: Array, g: Array, slots: tuple[Array, ...], c: Scalars, decay: bool, sqrt: Any
) -> tuple[Array, tuple[Array, ...]]:
    if decay:
        g = g + c["weight_decay"] * w
    return _adam_direction(w, g, slots, c, sqrt)


def _adamw(
    w: Array, g: Array, slots: tuple[Array, ...], c: Scalars, decay: bool, sqrt: Any
) -> tuple[Array, tuple[Array, ...]]:
    if decay:
        w = w * c["keep"]
    return _adam_direction(w, g, slots, c, sqrt)


def _rmsprop_coefficients(
    values: Mapping[str, float], rate: Floats, t: Floats
) -> dict[str, Floats]:
    return {
        "learning_rate": rate,
        "weight_decay": _constant(values, "weight_decay", rate),
        "alpha": _constant(values, "alpha", rate),
        "new": np.full_like(rate, 1.0 - values["alpha"]),
        "epsilon": _constant(values, "epsilon", rate),
        "momentum": np.full_like(rate, values.get("momentum", 0.0)),
    }


def _rmsprop(
    w: Array, g: Array, slots: tuple[Array, ...], c: Scalars, decay: bool, sqrt: Any
) -> tuple[Array, tuple[Array, ...]]:
    if decay:
        g = g + c["weight_decay"] * w
    square = c["alpha"] * slots[0] + c["new"] * (g * g)
    return w - c["learning_rate"] * (g / (sqrt(square) + c["epsilon"])), (square,)


def _rmsprop_momentum(
    w: Array, g: Array, slots: tuple[Array, ...], c: Scalars, decay: bool, sqrt: Any
) -> tuple[Array, tuple[Array, ...]]:
    if decay:
        g = g + c["weight_decay"] * w
    square = c["alpha"] * slots[0] + c["new"] * (g * g)
    buffer = c["momentum"] * slots[1] + g / (sqrt(square) + c["epsilon"])
    return w - c["learning_rate"] * buffer, (square, buffer)


_SGD = ("learning_rate", "weight_decay")
_ADAM = ("beta1", "beta2", "new1", "new2", "step_size", "root2", "epsilon")
_RMSPROP = ("learning_rate", "weight_decay", "alpha", "new", "epsilon")

RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("sgd", (), _SGD, _sgd_coefficients, _sgd),
        Rule("sgd_momentum", ("momentum",), (*_SGD, "momentum"), _sgd_coefficients, _sgd_momentum),
        Rule("sgd_nesterov", ("momentum",), (*_SGD, "momentum"), _sgd_coefficients, _sgd_nesterov),
        Rule("adam", ("mean", "square"), ("weight_decay", *_ADAM), _adam_coefficients, _adam),
        Rule("adamw", ("mean", "square"), ("keep", *_ADAM), _adam_coefficients, _adamw),
        Rule("rmsprop", ("square",), _RMSPROP, _rmsprop_coefficients, _rmsprop),
        Rule(
            "rmsprop_momentum",
            ("square", "momentum"),
            (*_RMSPROP, "momentum"),
            _rmsprop_coefficients,
            _rmsprop_momentum,
        ),
    )
}
