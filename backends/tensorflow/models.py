"""A network as a ``keras.Model`` of stock layers, and where each canonical tensor lives in it.

Only layers that ship with Keras are used, so a saved ``.keras`` file loads anywhere with no code
of ours. The model is the container of the variables and what the user gets; training and
evaluation read the same variables through ``ops``, which is exact where a stock layer is not
(Keras updates running statistics with the biased variance).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from paribus.architectures import INPUT, Network, Node

Array = npt.NDArray[Any]
Named = Callable[..., dict[str, Any]]  # suffix → the name and dtype of a layer of the node
Layer = Callable[[Node, list[Any], Named], Any]

# canonical leaf → (attribute of the layer, axes that turn canonical into Keras's layout)
_NORM: dict[str, tuple[str, tuple[int, ...]]] = {
    "weight": ("gamma", (0,)),
    "bias": ("beta", (0,)),
    "running_mean": ("moving_mean", (0,)),
    "running_var": ("moving_variance", (0,)),
}
VARIABLES: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {
    "conv2d": {"weight": ("kernel", (2, 3, 1, 0)), "bias": ("bias", (0,))},
    "linear": {"weight": ("kernel", (1, 0)), "bias": ("bias", (0,))},
    "batch_norm": _NORM,
}


@dataclass(frozen=True)
class Place:
    """One canonical tensor's variable; ``axes`` turn the canonical layout into Keras's."""

    variable: Any
    axes: tuple[int, ...]

    def native(self, array: Array) -> Array:
        """Return a canonical array in Keras's layout and the variable's dtype."""
        dtype = self.variable.dtype.as_numpy_dtype
        return np.ascontiguousarray(array.transpose(self.axes), dtype=dtype)

    def canonical(self, array: Array) -> Array:
        """Return an array in Keras's layout as the canonical one."""
        return np.ascontiguousarray(array.transpose(np.argsort(self.axes)))


def _conv2d(node: Node, inputs: list[Any], named: Named) -> Any:
    x, padding = inputs[0], node.size("padding")
    if padding:
        x = layers.ZeroPadding2D(padding, **named("_pad"))(x)
    return layers.Conv2D(
        node.size("out_channels"),
        node.size("kernel"),
        strides=node.size("stride"),
        groups=node.size("groups"),
        use_bias=bool(node.size("bias")),
        kernel_initializer="zeros",
        **named(),
    )(x)


def _batch_norm(node: Node, inputs: list[Any], named: Named) -> Any:
    # Keras's momentum is the share that is kept.
    momentum, eps = 1.0 - node.attributes["momentum"], node.attributes["eps"]
    return layers.BatchNormalization(momentum=momentum, epsilon=eps, **named())(inputs[0])


def _linear(node: Node, inputs: list[Any], named: Named) -> Any:
    bias, width = bool(node.size("bias")), node.size("out_features")
    return layers.Dense(width, use_bias=bias, kernel_initializer="zeros", **named())(inputs[0])


def _max_pool2d(node: Node, inputs: list[Any], named: Named) -> Any:
    x, padding = inputs[0], node.size("padding")
    if padding:
        # The layer that pads knows zeros only, which win over negative values; Keras's own
        # operation does not, and is saved by name like a layer.
        sides = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        x = keras.ops.pad(x, sides, constant_values=float(np.finfo(x.dtype).min))
    return layers.MaxPooling2D(node.size("kernel"), node.size("stride"), **named())(x)


def _flatten(node: Node, inputs: list[Any], named: Named) -> Any:
    x = inputs[0]
    if len(x.shape) == 4:
        x = layers.Permute((3, 1, 2), **named("_channels_first"))(x)
    return layers.Flatten(**named())(x)


LAYERS: dict[str, Layer] = {
    "conv2d": _conv2d,
    "batch_norm": _batch_norm,
    "linear": _linear,
    "relu": lambda node, inputs, named: layers.ReLU(**named())(inputs[0]),
    "tanh": lambda node, inputs, named: layers.Activation("tanh", **named())(inputs[0]),
    "max_pool2d": _max_pool2d,
    "global_avg_pool": lambda node, inputs, named: layers.GlobalAveragePooling2D(**named())(
        inputs[0]
    ),
    "flatten": _flatten,
    "add": lambda node, inputs, named: layers.Add(**named())(inputs),
}


def build(network: Network, dtype: str) -> tuple[Any, dict[str, Place]]:
    """Return the ``keras.Model`` (images as N, H, W, C) and the place of each canonical tensor.

    Weights are undefined until they are assigned. ``dtype`` is ``float32`` or ``float64``.
    """
    taken: set[str] = {INPUT}
    shape = network.input_shape
    source = keras.Input((*shape[1:], shape[0]), dtype=dtype, name=INPUT)
    values = {INPUT: source}
    layer_names: dict[str, str] = {}
    for node in network.nodes:
        base = layer_names[node.name] = _unique(node.name.replace(".", "_"), taken)

        def named(suffix: str = "", base: str = base) -> dict[str, Any]:
            return {"name": _unique(base + suffix, taken) if suffix else base, "dtype": dtype}

        values[node.name] = LAYERS[node.op](node, _all(values, node.inputs), named)
    model = keras.Model(source, values[network.nodes[-1].name], name=network.architecture)
    places = {}
    for name, tensor in network.tensors.items():
        leaf = name[len(tensor.node) + 1 :]
        attribute, axes = VARIABLES[network.node[tensor.node].op][leaf]
        layer = model.get_layer(layer_names[tensor.node])
        places[name] = Place(getattr(layer, attribute).value, axes)
    return model, places


def _all(values: dict[str, Any], names: Sequence[str]) -> list[Any]:
    return [values[name] for name in names]


def _unique(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
