"""What a JAX user keeps of a model: a pure function and its parameters; and both as files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from paribus import weights
from paribus.adapter import Array
from paribus.architectures import Network
from paribus.backends.jax.ops import run
from paribus.backends.jax.passes import Pass

Params = dict[str, Any]
PARAMETERS, FUNCTION = "model.safetensors", "apply.jax"


@dataclass(frozen=True)
class Model:
    """A trained network.

    Attributes:
        apply: a pure function (params, x) → outputs in evaluation mode, which can be compiled,
            differentiated and vectorised. Images go in as [n, height, width, channels] and tables
            as [n, features], preprocessed; texts as integers [n, tokens] or [n, tokens, 2], −1
            past the end.
        params: the canonical tensors, with the names and layouts of published checkpoints. Those
            of precision ``float64`` need JAX's ``enable_x64``.
    """

    apply: Callable[[Params, Any], Any]
    params: Params

    def __call__(self, x: Any) -> Any:
        """Return the outputs for ``x``."""
        return self.apply(self.params, x)


def application(network: Network) -> Callable[[Params, Any], Any]:
    """Return a network's function (params, x) → outputs, in evaluation mode."""

    def apply(params: Params, x: Any) -> Any:
        dtype = next(iter(params.values())).dtype
        x = jnp.asarray(x)
        x = x if network.reads_tokens else x.astype(dtype)
        return run(network, x, None, Pass(params, dtype, dtype))[network.nodes[-1].name]

    return apply


def save(network: Network, tensors: dict[str, Array], folder: Path) -> Path:
    """Write the parameters as safetensors and the function as JAX exports it.

    ``jax.export.deserialize`` reads ``apply.jax``, whose ``call(params, x)`` needs nothing but JAX,
    on a CPU or on CUDA, for any number of examples and any length of texts; networks that know
    segments take them, as [n, tokens, 2]. It is a program of array operations and can do
    nothing else. What was trained in float64 needs JAX's ``enable_x64``. Returns the path of the
    parameters.
    """
    folder.mkdir(parents=True, exist_ok=True)
    staged, function = folder / f"{FUNCTION}.partial", folder / FUNCTION
    staged.write_bytes(_exported(network, tensors))
    weights.save(folder / PARAMETERS, tensors, {"format": "jax"})
    staged.replace(function)
    return folder / PARAMETERS


def _exported(network: Network, tensors: dict[str, Array]) -> bytes:
    from jax import export

    params = {n: jax.ShapeDtypeStruct(a.shape, a.dtype) for n, a in tensors.items()}
    if network.reads_tokens:
        longest = network.input_shape[0]
        rows, tokens = export.symbolic_shape("n, t", constraints=[f"t <= {longest}"])
        segmented = any(node.op == "segment_embedding" for node in network.nodes)
        x = jax.ShapeDtypeStruct((rows, tokens, *((2,) if segmented else ())), jnp.int32)
    else:
        (rows,) = export.symbolic_shape("n")
        shape = network.input_shape
        shape = (*shape[1:], shape[0]) if len(shape) == 3 else shape
        x = jax.ShapeDtypeStruct((rows, *shape), next(iter(params.values())).dtype)
    function = jax.jit(application(network))
    exported = export.export(function, platforms=("cpu", "cuda"))(params, x)
    return bytes(exported.serialize())
