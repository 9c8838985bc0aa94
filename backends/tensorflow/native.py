"""A session on the user's own ``keras.Model``, which computes as its author wrote it.

The traced functions are those of every other network; only the pass through the network is Keras's
own: the model is called with values in place of its variables, so that gradients are dense, the
update is paribus's, and what Keras would assign (running statistics, states of random generators)
comes back as values that a training step assigns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from paribus.adapter import Numerics, Precision, Task, Tensors
from paribus.backends.tensorflow.engine import TensorFlowSession
from paribus.backends.tensorflow.forwards import Inputs, Targets
from paribus.backends.tensorflow.inputs import Layout
from paribus.backends.tensorflow.models import Place
from paribus.backends.tensorflow.native_models import (
    Built,
    before_activation,
    build,
    call,
    modules,
    watched,
)
from paribus.backends.tensorflow.passes import Pass
from paribus.backends.tensorflow.steps import Steps
from paribus.errors import SpecError, Unsupported
from paribus.native.network import GIVEN, NATIVE, NativeNetwork
from paribus.noise import GOLDEN

Tensor = Any
NAME = "tensorflow"
# What Keras calls the state of a layer's random numbers: a seed and a counter.
GENERATOR = "seed_generator_state"


@dataclass(frozen=True)
class NativeSteps(Steps):
    """``Steps`` whose pass is the model's own.

    Attributes:
        target: the builder, for messages.
        built: the model; states: names of the variables of ``built.states`` in ``variables``.
    """

    target: str = ""
    built: Built | None = None
    states: Mapping[int, str] = field(default_factory=dict)

    def run(self, x: Tensor, positions: Tensor | None, state: Pass) -> Tensor:
        """Return the model's outputs; everything that it would assign is a new statistic."""
        assert self.built is not None
        model, names = self.built.model, self._names()
        values = [(v, self._start(v, state.tensors[names[id(v)]], state)) for v in model.variables]

        def stateless() -> Tensor:
            # Called as its user would: whether the model takes ``training`` is its own affair.
            with keras.StatelessScope(state_mapping=values) as scope:
                outputs = model(x, training=state.training)
            for variable in model.non_trainable_variables:
                value = scope.get_current_value(variable)
                state.statistics[names[id(variable)]] = value
            return outputs

        return call(self.target, x, stateless)

    def _start(self, variable: Any, value: Tensor, state: Pass) -> Tensor:
        """Return a variable's value; of a generator's state, what the step's keys make of it."""
        if state.noise is None or variable.name != GENERATOR:
            return value
        # Two generators do not draw the same.
        place = list(self.states).index(id(variable))
        words = state.noise.words[NATIVE] + tf.stack([state.noise.first, GOLDEN * place])
        return tf.cast(words % 2**32, value.dtype)

    def moving(self) -> tuple[str, ...]:
        """Return the names of all variables that are not trained."""
        assert self.built is not None
        names = self._names()
        return tuple(names[id(v)] for v in self.built.model.non_trainable_variables)

    def activations(self, layout: Layout, training: bool) -> Callable[..., Any]:
        """Return the outputs of the layers that own variables and are called once."""
        assert self.built is not None
        model, names = self.built.model, modules(self.built)

        def batch(inputs: Inputs, indices: Tensor, targets: Targets) -> dict[str, Tensor]:
            found: dict[str, list[Tensor]] = {}
            inner: dict[int, Tensor] = {}

            def keep(layer: Any, value: Tensor) -> None:
                inner[id(layer)] = value

            def note(layer: Any, given: tuple[Any, ...], output: Any) -> None:
                value = output[0] if isinstance(output, tuple | list) else output
                value = inner.pop(id(layer), value)
                if id(layer) in names and layer is not model and tf.is_tensor(value):
                    name = names[id(layer)]
                    found.setdefault(name, []).append(_channels_first(layer, value))
                    if given and tf.is_tensor(given[0]):
                        read = _channels_first(layer, given[0])
                        found.setdefault(name + GIVEN, []).append(read)

            state = self._pass(self._values(), training)
            with watched(model, note), before_activation(model, keep):
                self._forward(inputs, indices, None, targets, layout, state)
            once = {name: calls[0] for name, calls in found.items() if len(calls) == 1}
            return {name: tf.cast(value, self.dtype) for name, value in once.items()}

        return batch

    def _names(self) -> dict[int, str]:
        assert self.built is not None
        return {id(v): name for name, v in self.built.variables.items()} | dict(self.states)


class NativeSession(TensorFlowSession):
    """See ``paribus.adapter.Session``; the network's names and layouts are the model's own.

    Raises:
        SpecError: the builder fails, or returns another model than was inspected.
        Unsupported: precision bfloat16, which is a matter of the layers' own code.
    """

    def __init__(
        self,
        network: NativeNetwork,
        task: Task,
        device: str,
        precision: Precision,
        numerics: Numerics,
    ) -> None:
        if precision == "bfloat16":
            raise Unsupported(
                "backend tensorflow: precision = 'bfloat16' of a model of your own is decided by "
                "its layers; use float32 or float64"
            )
        self._builder = network.builder(NAME)
        self._native: Built | None = None
        self._started: list[Any] = []
        super().__init__(network, task, device, precision, numerics)
        assert self._native is not None
        self._started = [state.numpy() for state in self._native.states]

    def import_weights(self, tensors: Tensors) -> None:
        """Assign every variable; random generators start anew, so that a repeat is the same."""
        super().import_weights(tensors)
        assert self._native is not None
        with self._traces.computing():
            for state, value in zip(self._native.states, self._started, strict=True):
                state.assign(value)

    def close(self) -> None:
        """Let go of everything."""
        self._native = None
        super().close()
        self._steps = None  # type: ignore[assignment]

    def _build(self) -> tuple[Any, Mapping[str, Place]]:
        built = build(self._builder, self._network.input_shape, self._numpy.name)
        found = {name: tuple(variable.shape) for name, variable in built.variables.items()}
        wanted = {name: tensor.shape for name, tensor in self._network.tensors.items()}
        if found != wanted:
            both = {**found, **wanted}
            apart = sorted(name for name in both if found.get(name) != wanted.get(name))
            raise SpecError(
                f"native: {self._builder.target} returns another model at its second call "
                f"({apart[0]} differs); it must return the same each time"
            )
        if self._native is None:
            self._native = built
        places = {
            name: Place(built.variables[name].value, tuple(range(len(shape))), shape)
            for name, shape in wanted.items()
        }
        return built.model, places

    def _traced(
        self,
        variables: Mapping[str, Any],
        slots: Mapping[str, tuple[Any, ...]],
        dtype: Any,
        products: Any,
        sliced: bool,
    ) -> Steps:
        assert self._native is not None
        states = {id(v): f"state {index}" for index, v in enumerate(self._native.states)}
        more = {states[id(v)]: v.value for v in self._native.states}
        # Whether a layer looks at other rows of its batch is the user's: padding is cut off.
        return NativeSteps(
            self._network, self._task, {**variables, **more}, slots, dtype, products, True,
            False, self._builder.target, self._native, states,
        )  # fmt: skip


def _channels_first(layer: Any, value: Tensor) -> Tensor:
    """Return images [n, H, W, C] as [n, C, H, W]."""
    if len(value.shape) != 4 or getattr(layer, "data_format", None) == "channels_first":
        return value
    return tf.transpose(value, (0, 3, 1, 2))
