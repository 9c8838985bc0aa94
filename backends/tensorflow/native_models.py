"""The user's own ``keras.Model``: built by their function, and looked at.

Keras numbers the layers that its user does not name, counting from the start of the process; the
count starts anew for each builder, so that a model has the same names whenever it is built.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Keras's public interface can start its count of names anew (clear_session), but not put it back.
from keras.src.backend.common import global_state

from paribus.architectures import Shape
from paribus.backends.tensorflow.native_layers import PRODUCTS, describe, layout, leaf, role
from paribus.errors import ParibusError, SpecError, listed
from paribus.native.builder import Builder
from paribus.native.inspection import Inspection, NativeModule, NativeTensor

COUNT = "object_name_uids"
# Rows of the call that shows a model's outputs and builds layers that wait for one.
ROWS = 2
Watch = Callable[[Any, tuple[Any, ...], Any], None]


@dataclass(frozen=True)
class Built:
    """A user's model with the variables that it has.

    Attributes:
        variables: Keras variables of floats by name, in the order of definition.
        states: the others (the states of random generators).
        owner: layer by variable name.
    """

    model: Any
    variables: dict[str, Any]
    states: list[Any]
    owner: dict[str, Any]


def build(builder: Builder, input_shape: Shape, dtype: str) -> Built:
    """Call the builder under ``dtype`` and the model once.

    Args:
        builder: the user's.
        input_shape: of an example, channels first.
        dtype: ``float32`` or ``float64``, of all variables and layers.

    Raises:
        SpecError: the builder or the model fails, it is no Keras model, or it keeps to another
            precision, or asks for what Keras's own training loop would do.
    """
    with _fresh_names(), _floats(dtype):
        model = builder.build()
        if not isinstance(model, keras.Model):
            raise SpecError(
                f"native: {builder.target} returned a {type(model).__name__}, not a keras.Model"
            )
        x = tf.zeros((ROWS, *input_shape[1:], input_shape[0]), dtype)
        outputs = call(builder.target, x, lambda: model(x, training=False))
    _require(builder.target, model, dtype)
    variables: dict[str, Any] = {}
    states = []
    owner = {}
    for layer, variable in _owned(model):
        if not tf.as_dtype(variable.dtype).is_floating:
            states.append(variable)
            continue
        name = str(variable.path)
        while name in variables:
            name += "'"
        variables[name], owner[name] = variable, layer
    del outputs
    return Built(model, variables, states, owner)


def inspect(builder: Builder, input_shape: Shape, seed: int) -> Inspection:
    """Return what the user's model is made of; the contract is ``Backend.inspect``'s."""
    with _seeded(seed):
        built = build(builder, input_shape, "float32")
    trained = {id(variable) for variable in built.model.trainable_variables}
    tensors = tuple(
        NativeTensor(
            name,
            tuple(variable.shape),
            "parameter" if id(variable) in trained else "statistic",
            role(built.owner[name], name),
            name.rpartition("/")[0],
            leaf(built.owner[name], name),
            layout(built.owner[name], name),
        )
        for name, variable in built.variables.items()
    )
    names = modules(built)
    called: dict[int, NativeModule] = {}

    def note(operation: Any, given: tuple[Any, ...], output: Any) -> None:
        if id(operation) not in called and id(operation) != id(built.model):
            name = names.get(id(operation), operation.name)
            called[id(operation)] = describe(name, operation, given)

    x = tf.zeros((ROWS, *input_shape[1:], input_shape[0]))
    with watched(built.model, note):
        outputs = call(builder.target, x, lambda: built.model(x, training=False))
    values = {name: np.array(v.numpy()) for name, v in built.variables.items()}
    return Inspection(tensors, tuple(called.values()), tuple(outputs.shape[1:]), values)


def modules(built: Built) -> dict[int, str]:
    """Return the name of each layer that owns a variable, by the layer's identity."""
    return {id(layer): name.rpartition("/")[0] for name, layer in built.owner.items()}


def call(target: str, x: Any, function: Callable[[], Any]) -> Any:
    """Call the model and return its one output [n, outputs].

    Raises:
        SpecError: it fails, or returns something else.
    """
    try:
        found = function()
    except ParibusError:
        raise
    except Exception as error:  # the user's code may raise anything
        said = " ".join(str(error).split())
        raise SpecError(
            f"native: {target}: the model fails on inputs {_shape(x)}: {type(error).__name__}: "
            f"{said}; it is called with images [n, height, width, channels] or tables "
            "[n, features]"
        ) from error
    if not tf.is_tensor(found) or len(found.shape) != 2:
        shape = _shape(found) if tf.is_tensor(found) else type(found).__name__
        raise SpecError(
            f"native: {target}: for inputs {_shape(x)} the model returned {shape}; allowed: one "
            "tensor [n, outputs]"
        )
    return found


@contextmanager
def watched(model: Any, watch: Watch) -> Iterator[None]:
    """Tell ``watch`` of each call of a layer or operation: (it, its inputs, its output)."""
    operations: dict[int, Any] = {id(layer): layer for layer in model._flatten_layers()}
    for part in list(operations.values()):
        operations |= {id(one): one for one in getattr(part, "operations", ())}
    with ExitStack() as stack:
        for operation in operations.values():
            # Past Keras's bookkeeping of attributes, which is for what a layer keeps.
            object.__setattr__(operation, "call", _telling(operation, watch))
            stack.callback(object.__delattr__, operation, "call")
        yield


@contextmanager
def before_activation(model: Any, watch: Callable[[Any, Any], None]) -> Iterator[None]:
    """Tell ``watch`` what products hand to an activation that is part of their layer.

    In other frameworks the activation is a module of its own, or a function.
    """
    with ExitStack() as stack:
        for layer in model._flatten_layers():
            function = getattr(layer, "activation", None)
            if function is None or not isinstance(layer, PRODUCTS):
                continue
            object.__setattr__(layer, "activation", _noting(layer, function, watch))
            stack.callback(object.__setattr__, layer, "activation", function)
        yield


def _noting(layer: Any, function: Any, watch: Callable[[Any, Any], None]) -> Callable[..., Any]:
    def noted(x: Any) -> Any:
        watch(layer, x)
        return function(x)

    return noted


def _telling(operation: Any, watch: Watch) -> Callable[..., Any]:
    original = operation.call

    def told(*given: Any, **named: Any) -> Any:
        output = original(*given, **named)
        watch(operation, given, output)
        return output

    return told


def _owned(model: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each variable once with the layer that made it, in the order of definition."""
    owner = {}
    for layer in model._flatten_layers():
        for variable in layer.variables:
            # The innermost layer comes last.
            owner[id(variable)] = layer
    layers: list[Any] = []
    for variable in model.variables:
        if owner[id(variable)] not in layers:
            layers.append(owner[id(variable)])
    seen: set[int] = set()
    for layer in layers:
        for variable in layer.variables:
            if owner[id(variable)] is layer and id(variable) not in seen:
                seen.add(id(variable))
                yield layer, variable


def _require(target: str, model: Any, dtype: str) -> None:
    other = [
        f"{layer.name} ({layer.compute_dtype})"
        for layer in model._flatten_layers()
        if layer.compute_dtype != dtype
    ]
    if other:
        raise SpecError(
            f"native: {target}: precision {dtype!r} is asked for, but these layers compute in "
            f"another: {listed(other)}; leave dtype out in the builder, so that Keras's default is "
            "taken"
        )
    if model.losses:
        raise SpecError(
            f"native: {target}: the model adds {len(model.losses)} losses of its own (regularizers "
            "or add_loss), but what is trained is the loss of the recipe; remove them, and give "
            "weight_decay in the optimizer section"
        )
    constrained = [v.path for v in model.trainable_variables if v.constraint is not None]
    if constrained:
        raise SpecError(
            f"native: {target}: constraints of weights are applied by Keras's own optimizers, "
            f"which do not run here: {listed(constrained)}; remove them"
        )


@contextmanager
def _fresh_names() -> Iterator[None]:
    before = global_state.get_global_attribute(COUNT)
    global_state.set_global_attribute(COUNT, None)
    try:
        yield
    finally:
        global_state.set_global_attribute(COUNT, before)


@contextmanager
def _floats(dtype: str) -> Iterator[None]:
    """Make ``dtype`` Keras's default."""
    floats, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(dtype)
    stated = keras.config.dtype_policy().name != dtype
    if stated:
        keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_floatx(floats)
        if stated:
            keras.config.set_dtype_policy(policy)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed what Keras's initialisers draw their seeds from."""
    python, arrays = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)


def _shape(tensor: Any) -> list[int | None]:
    return list(tensor.shape)
