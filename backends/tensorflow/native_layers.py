"""What Keras's layers are in words that all frameworks share: roles, layouts, settings."""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import layers

from paribus.native.inspection import NativeModule, Setting

_NORMS = (layers.BatchNormalization, layers.LayerNormalization, layers.GroupNormalization)
_CONVS = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
PRODUCTS = (*_CONVS, *_TRANSPOSED, layers.DepthwiseConv2D, layers.Dense, layers.EinsumDense)
_POOLS = (layers.MaxPooling2D, layers.AveragePooling2D)
_DROPOUTS = (layers.Dropout, layers.SpatialDropout1D, layers.SpatialDropout2D)

_LEAVES = {
    "gamma": "scale",
    "beta": "shift",
    "moving_mean": "mean",
    "moving_variance": "variance",
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "embeddings": "weight",
}
# As Keras's MultiHeadAttention calls its own layers.
_INPUTS, _OUTPUT = ("query", "key", "value"), "attention_output"
_SPACE = {1: "L", 2: "HW", 3: "DHW"}


def role(layer: Any, name: str) -> Literal["weight", "bias", "norm"]:
    """Return what weight decay asks for; a layer of the user's own counts by name."""
    if isinstance(layer, _NORMS) or "norm" in type(layer).__name__.lower():
        return "norm"
    return "bias" if "bias" in name.rpartition("/")[2] else "weight"


def leaf(layer: Any, name: str) -> str:
    """Return the shared word for a variable of a layer."""
    last = name.rpartition("/")[2].rstrip("'")
    word = _LEAVES.get(last, last)
    return f"{layer.name} {word}" if _of_attention(layer, _INPUTS) else word


def layout(layer: Any, name: str) -> str:
    """Return the layout in letters; see ``NativeTensor``."""
    word = leaf(layer, name).rpartition(" ")[2]
    if _of_attention(layer, (*_INPUTS, _OUTPUT)):
        return "IO" if word == "weight" else "O"
    if word != "weight":
        return ""
    if isinstance(layer, layers.DepthwiseConv2D):
        return "HWCM"
    if isinstance(layer, _TRANSPOSED):
        return _SPACE[layer.rank] + "OI"
    if isinstance(layer, _CONVS):
        return _SPACE[layer.rank] + "IO"
    if isinstance(layer, layers.Dense):
        return "IO"
    return "VE" if isinstance(layer, layers.Embedding) else ""


def _of_attention(layer: Any, names: tuple[str, ...]) -> bool:
    """Whether a layer is one of the products inside of Keras's MultiHeadAttention."""
    return isinstance(layer, layers.EinsumDense) and layer.name in names


def describe(name: str, layer: Any, given: tuple[Any, ...]) -> NativeModule:
    """Return what a layer or an operation of a model says of itself, at its first call."""
    op, settings = "", dict[str, Setting]()
    if isinstance(layer, (*_CONVS, *_TRANSPOSED, layers.DepthwiseConv2D)):
        op = "conv2d" if layer.rank == 2 else "conv"
        groups = (
            int(given[0].shape[-1])
            if isinstance(layer, layers.DepthwiseConv2D)
            else int(getattr(layer, "groups", 1))
        )
        settings = _window(layer.kernel_size, layer, given) | {
            "groups": groups, "bias": bool(layer.use_bias),
        }  # fmt: skip
    elif isinstance(layer, layers.BatchNormalization):
        op, settings = "batch_norm", {"eps": layer.epsilon, "momentum": _share(layer.momentum)}
        if type(layer).call is layers.BatchNormalization.call:
            settings["running variance"] = "biased"
    elif isinstance(layer, layers.LayerNormalization):
        op, settings = "layer_norm", {"eps": layer.epsilon}
    elif isinstance(layer, layers.GroupNormalization):
        op, settings = "group_norm", {"eps": layer.epsilon, "groups": layer.groups}
    elif isinstance(layer, layers.Dense):
        op, settings = "linear", {"bias": bool(layer.use_bias)}
    elif isinstance(layer, layers.Embedding):
        op = "token_embedding"
    elif isinstance(layer, _POOLS):
        op = "max_pool2d" if isinstance(layer, layers.MaxPooling2D) else "avg_pool2d"
        settings = _window(layer.pool_size, layer, given)
    elif isinstance(layer, layers.ZeroPadding2D):
        op, settings = "padding", {"padding": ",".join(str(p) for s in layer.padding for p in s)}
    elif isinstance(layer, _DROPOUTS):
        op, settings = "dropout", {"p": layer.rate}
    elif isinstance(layer, layers.LeakyReLU):
        op, settings = "leaky_relu", {"slope": float(layer.negative_slope)}
    elif isinstance(layer, layers.Flatten):
        op = "flatten"
        settings = {"input": "×".join(map(str, given[0].shape[1:]))} if given else {}
    elif type(layer).__name__ == "Gelu":
        op, settings = "gelu", {"gelu": "tanh" if layer.approximate else "exact"}
    else:
        op = _NAMED.get(type(layer).__name__, "")
    activation = getattr(layer, "activation", None)
    if activation is not None:
        settings = settings | _activation(activation)
        if isinstance(layer, layers.Activation):
            op = str(settings.get("activation", ""))
    return NativeModule(name, type(layer).__name__, op, settings)


_NAMED = {
    "ReLU": "relu",
    "Relu": "relu",
    "Tanh": "tanh",
    "Permute": "permute",
    "Reshape": "reshape",
    "MultiHeadAttention": "attention",
    "GlobalAveragePooling2D": "global_avg_pool",
}


def _activation(function: Any) -> dict[str, Setting]:
    name = str(getattr(function, "__name__", type(function).__name__))
    if name == "linear":
        return {}
    if function is keras.activations.gelu:
        # Exact but for √½, which TensorFlow's own function has in single precision: 1e-8 of it.
        return {"activation": "gelu", "gelu": "exact, with √½ in single precision"}
    return {"activation": name}


def _share(kept: float) -> float:
    """Keras's momentum is the share that is kept; this is that of the new batch."""
    return round(1.0 - kept, 12)


def _window(kernel: tuple[int, ...], layer: Any, given: tuple[Any, ...]) -> dict[str, Setting]:
    """Return kernel, stride and padding as ``top,bottom,left,right`` for the input's size."""
    strides, dilation = tuple(layer.strides), tuple(getattr(layer, "dilation_rate", (1, 1)))
    sides = []
    for axis, (size, stride) in enumerate(zip(kernel, strides, strict=True)):
        if layer.padding != "same" or not given:
            sides += [0, 0]
            continue
        length, reach = int(given[0].shape[1 + axis]), dilation[axis] * (size - 1) + 1
        total = max((-(-length // stride) - 1) * stride + reach - length, 0)
        sides += [total // 2, total - total // 2]
    return {
        "kernel": ",".join(map(str, kernel)), "stride": ",".join(map(str, strides)),
        "padding": ",".join(map(str, sides)), "dilation": ",".join(map(str, dilation)),
    }  # fmt: skip
