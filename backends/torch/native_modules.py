"""What PyTorch's modules are in words that all frameworks share: roles, layouts, settings."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from paribus.native.inspection import NativeModule, Setting

_Norm = nn.modules.batchnorm._NormBase
_BatchNorm = nn.modules.batchnorm._BatchNorm
_Conv = nn.modules.conv._ConvNd
_Transposed = nn.modules.conv._ConvTransposeNd
_Dropout = nn.modules.dropout._DropoutNd
_Norms = (_Norm, nn.LayerNorm, nn.GroupNorm)
_Pools = (nn.MaxPool2d, nn.AvgPool2d)

_LEAVES = {"running_mean": "mean", "running_var": "variance"}
# What PyTorch keeps of queries, keys and values: one tensor, or three where their widths differ.
_ATTENTION = {
    "in_proj_weight": ("query+key+value weight", "OI"),
    "in_proj_bias": ("query+key+value bias", "O"),
    "q_proj_weight": ("query weight", "OI"),
    "k_proj_weight": ("key weight", "OI"),
    "v_proj_weight": ("value weight", "OI"),
}
_SPACE = {1: "L", 2: "HW", 3: "DHW"}


def role(part: nn.Module, last: str) -> Literal["weight", "bias", "norm"]:
    """Return what weight decay asks for; a module of the user's own counts by name."""
    if isinstance(part, _Norms) or "norm" in type(part).__name__.lower():
        return "norm"
    return "bias" if "bias" in last else "weight"


def leaf(part: nn.Module, last: str) -> str:
    """Return the shared word for a tensor of a module."""
    if isinstance(part, _Norms):
        return {"weight": "scale", "bias": "shift"}.get(last, _LEAVES.get(last, last))
    if isinstance(part, nn.Linear | _Conv | nn.Embedding | nn.Bilinear):
        return last
    if isinstance(part, nn.MultiheadAttention):
        return _ATTENTION.get(last, (last, ""))[0]
    return _LEAVES.get(last, last)


def layout(part: nn.Module, last: str) -> str:
    """Return the layout in letters; see ``NativeTensor``."""
    if isinstance(part, nn.MultiheadAttention):
        return _ATTENTION.get(last, (last, ""))[1]
    if last != "weight":
        return ""
    if isinstance(part, nn.Linear):
        return "OI"
    if isinstance(part, nn.Embedding):
        return "VE"
    if isinstance(part, _Conv):
        return ("IO" if isinstance(part, _Transposed) else "OI") + _SPACE[len(part.kernel_size)]
    return ""


def describe(name: str, part: nn.Module, given: tuple[Any, ...], output: Any) -> NativeModule:
    """Return what a module says of itself, at its first call."""
    op, settings = "", dict[str, Setting]()
    if isinstance(part, _Conv):
        op = "conv2d" if len(part.kernel_size) == 2 else "conv"
        settings = _window(part) | {"groups": part.groups, "bias": part.bias is not None}
    elif isinstance(part, _BatchNorm):
        op = "batch_norm"
        share: Setting = "cumulative" if part.momentum is None else part.momentum
        settings = {"eps": part.eps, "momentum": share, "running variance": "unbiased"}
    elif isinstance(part, nn.LayerNorm):
        op, settings = "layer_norm", {"eps": part.eps}
    elif isinstance(part, nn.GroupNorm):
        op, settings = "group_norm", {"eps": part.eps, "groups": part.num_groups}
    elif isinstance(part, nn.Linear):
        op, settings = "linear", {"bias": part.bias is not None}
    elif isinstance(part, nn.Embedding):
        op = "token_embedding"
    elif isinstance(part, nn.GELU):
        op = "gelu"
        settings = {"gelu": "tanh" if part.approximate == "tanh" else "exact"}
    elif isinstance(part, nn.LeakyReLU):
        op, settings = "leaky_relu", {"slope": part.negative_slope}
    elif isinstance(part, _Pools):
        op = "max_pool2d" if isinstance(part, nn.MaxPool2d) else "avg_pool2d"
        settings = _window(part)
    elif isinstance(part, _Dropout):
        op, settings = "dropout", {"p": part.p}
    elif isinstance(part, nn.Flatten):
        op = "flatten"
    else:
        op = _NAMED.get(type(part), "")
    if given and isinstance(given[0], Tensor) and op == "flatten":
        settings |= {"input": "×".join(map(str, given[0].shape[1:]))}
    return NativeModule(name, type(part).__name__, op, settings)


_NAMED: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
    nn.SiLU: "silu",
    nn.Softmax: "softmax",
    nn.MultiheadAttention: "attention",
    nn.AdaptiveAvgPool2d: "adaptive_avg_pool2d",
}


def _window(part: Any) -> dict[str, Setting]:
    """Return kernel, stride and padding as ``top,bottom,left,right``."""
    kernel, stride, padding, dilation = (
        _pair(getattr(part, key, 1)) for key in ("kernel_size", "stride", "padding", "dilation")
    )
    sides = padding if isinstance(padding, str) else ",".join(f"{p},{p}" for p in padding)
    found: dict[str, Setting] = {
        "kernel": ",".join(map(str, kernel)), "stride": ",".join(map(str, stride)),
        "padding": sides, "dilation": ",".join(map(str, dilation)),
    }  # fmt: skip
    mode = getattr(part, "padding_mode", "zeros")
    return found if mode == "zeros" else {**found, "padding mode": mode}


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else value
