"""A network as a ``keras.Model`` of stock layers, and where each canonical tensor lives in it.

Only layers that ship with Keras are used, so a saved ``.keras`` file loads anywhere with no code
of ours. The model is the container of the variables and what the user gets; training and
evaluation read the same variables through ``ops``, which is exact where a stock layer is not
(Keras updates running statistics with the biased variance).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from paribus.architectures import INPUT, TARGETS, Network, Node
from paribus.architectures.pooling import bins
from paribus.backends.tensorflow import sequences, text_layers
from paribus.backends.tensorflow.sequences import Layer, Named

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Where:
    """Where a node's layers keep a tensor; ``axes`` turn the canonical layout into Keras's."""

    attribute: str
    axes: tuple[int, ...] = (0,)
    suffix: str = ""


_NORM = {"weight": Where("gamma"), "bias": Where("beta")}
_PRODUCT = {"weight": Where("kernel", (1, 0)), "bias": Where("bias")}
_TABLE = {"weight": Where("embeddings", (0, 1))}
# operation → canonical leaf → the layer's variable
VARIABLES: dict[str, dict[str, Where]] = {
    "conv2d": {"weight": Where("kernel", (2, 3, 1, 0)), "bias": Where("bias")},
    # Keras has one axis for the input channels and one for the outputs of each: here (…, C, m).
    "depthwise": {"weight": Where("kernel", (2, 3, 0, 1)), "bias": Where("bias")},
    "linear": _PRODUCT,
    "transposed": {**_PRODUCT, "weight": Where("kernel", (0, 1))},
    "batch_norm": {
        **_NORM,
        "running_mean": Where("moving_mean"),
        "running_var": Where("moving_variance"),
    },
    "layer_norm": _NORM,
    "class_token": {"": Where("embeddings", (0, 1, 2))},
    "position_embedding": {"pos_embedding": Where("embeddings", (0, 1, 2))},
    "attention": {
        "in_proj_weight": Where("kernel", (1, 0), "_in_proj"),
        "in_proj_bias": Where("bias", (0,), "_in_proj"),
        "out_proj.weight": Where("kernel", (1, 0), "_out_proj"),
        "out_proj.bias": Where("bias", (0,), "_out_proj"),
    },
    "token_embedding": _TABLE,
    "segment_embedding": _TABLE,
    "token_positions": _TABLE,
    "shared_linear": {"bias": Where("embeddings")},
}


@dataclass(frozen=True)
class Place:
    """One canonical tensor's variable; ``axes`` turn the canonical layout into Keras's.

    Where Keras cuts an axis in two or has none for a length of 1, the shapes differ as well.
    """

    variable: Any
    axes: tuple[int, ...]
    shape: tuple[int, ...]

    def native(self, array: Array) -> Array:
        """Return a canonical array in Keras's layout and the variable's dtype."""
        dtype = self.variable.dtype.as_numpy_dtype
        moved = array.transpose(self.axes).reshape(self.variable.shape)
        return np.ascontiguousarray(moved, dtype=dtype)

    def canonical(self, array: Array) -> Array:
        """Return an array in Keras's layout as the canonical one."""
        moved = array.reshape([self.shape[axis] for axis in self.axes])
        return np.ascontiguousarray(moved.transpose(np.argsort(self.axes)))


def _kind(node: Node) -> str:
    """Return the node's key in ``VARIABLES``."""
    if node.op == "conv2d" and node.size("groups") == node.size("in_channels") > 1:
        return "depthwise"
    return "transposed" if node.op == "linear" and node.size("transposed") else node.op


def _conv2d(node: Node, inputs: list[Any], named: Named) -> Any:
    x, padding = inputs[0], node.size("padding")
    if padding:
        x = layers.ZeroPadding2D(padding, **named("_pad"))(x)
    if _kind(node) == "depthwise":
        # Conv2D with groups would do, but has no gradient on a CPU.
        return layers.DepthwiseConv2D(
            node.size("kernel"),
            strides=node.size("stride"),
            depth_multiplier=node.size("out_channels") // node.size("in_channels"),
            use_bias=bool(node.size("bias")),
            depthwise_initializer="zeros",
            **named(),
        )(x)
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


def _adaptive_avg_pool2d(node: Node, inputs: list[Any], named: Named) -> Any:
    x, size = inputs[0], node.size("size")
    if x.shape[1:3] == (size, size):
        return x
    rows, columns = (bins(n, size).astype(x.dtype) for n in x.shape[1:3])
    return keras.ops.einsum("hi,bijc,wj->bhwc", rows, x, columns)


def _flatten(node: Node, inputs: list[Any], named: Named) -> Any:
    x = inputs[0]
    if len(x.shape) == 4:
        x = layers.Permute((3, 1, 2), **named("_channels_first"))(x)
    return layers.Flatten(**named())(x)


def _stochastic_depth(node: Node, inputs: list[Any], named: Named) -> Any:
    # One draw for an example, whatever it is made of.
    shape = (None, *(1,) * len(node.shape))
    return layers.Dropout(node.attributes["p"], noise_shape=shape, **named())(inputs[0])


LAYERS: dict[str, Layer] = {
    "conv2d": _conv2d,
    "batch_norm": _batch_norm,
    "linear": _linear,
    "relu": lambda node, inputs, named: layers.ReLU(**named())(inputs[0]),
    "relu6": lambda node, inputs, named: layers.ReLU(max_value=6.0, **named())(inputs[0]),
    "tanh": lambda node, inputs, named: layers.Activation("tanh", **named())(inputs[0]),
    "max_pool2d": _max_pool2d,
    "global_avg_pool": lambda node, inputs, named: layers.GlobalAveragePooling2D(**named())(
        inputs[0]
    ),
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "flatten": _flatten,
    "add": lambda node, inputs, named: layers.Add(**named())(inputs),
    "dropout": lambda node, inputs, named: layers.Dropout(node.attributes["p"], **named())(
        inputs[0]
    ),
    "stochastic_depth": _stochastic_depth,
    **sequences.LAYERS,
    **text_layers.LAYERS,
}


def build(network: Network, dtype: str) -> tuple[Any, dict[str, Place]]:
    """Return the ``keras.Model`` and the place of each canonical tensor.

    Images are its input as [n, H, W, C]; the inputs of texts are named (see ``text_layers``).
    Weights are undefined until they are assigned. ``dtype`` is ``float32`` or ``float64``.
    """
    taken: set[str] = {INPUT}
    given, source = _inputs(network, dtype)
    values = {INPUT: source, TARGETS: None}
    names: dict[tuple[str, str], str] = {}
    shared = {network.tensors[n.shares].node: n.shares for n in network.nodes if n.shares}
    tables: dict[str, Any] = {}
    for node in network.nodes:

        def named(suffix: str = "", node: Node = node) -> dict[str, Any]:
            name = names[node.name, suffix] = _unique(node.name.replace(".", "_") + suffix, taken)
            return {"name": name, "dtype": dtype}

        inputs = [values[name] for name in node.inputs]
        if node.name in shared:
            table = tables[shared[node.name]] = text_layers.shared_table(node, named)
            values[node.name] = table(inputs[0].numbers)
        elif node.shares:
            table = tables[node.shares]
            values[node.name] = text_layers.shared_linear(node, inputs, named, table)
        else:
            values[node.name] = LAYERS[node.op](node, inputs, named)
    model = keras.Model(given, values[network.nodes[-1].name], name=network.architecture)
    places = {}
    for name, tensor in network.tensors.items():
        where = VARIABLES[_kind(network.node[tensor.node])][name[len(tensor.node) + 1 :]]
        layer = model.get_layer(names[tensor.node, where.suffix])
        places[name] = Place(getattr(layer, where.attribute).value, where.axes, tensor.shape)
    return model, places


def _inputs(network: Network, dtype: str) -> tuple[Any, Any]:
    """Return a model's inputs, and what the nodes read as the network's input."""
    if not network.reads_tokens:
        shape = network.input_shape
        source = keras.Input((*shape[1:], shape[0]), dtype=dtype, name=INPUT)
        return source, source
    text = text_layers.inputs(network)
    read = [text.numbers]
    read += [text.real] if text_layers.reads_mask(network) else []
    read += [text.segments] if text.segments is not None else []
    return {tensor.name: tensor for tensor in read}, text


def _unique(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
