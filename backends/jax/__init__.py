"""The JAX adapter's descriptor: what it can do, said without importing JAX.

The adapter is plain JAX, with no library of layers or optimizers above it: pure functions over a
dictionary of canonical tensors, differentiated and compiled by JAX, updated by core's formulas.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

from paribus.adapter import Backend, Capabilities, Numerics, Precision, Session, Task
from paribus.architectures import Network
from paribus.errors import BackendMissing, DeviceMissing, Unsupported, nearest
from paribus.optimizers import RULES
from paribus.replicas import Replicas

# By default JAX takes three quarters of a GPU's memory when it first looks at it.
PREALLOCATE = "XLA_PYTHON_CLIENT_PREALLOCATE"


class JaxBackend(Backend):
    """Pure functions compiled by XLA, on a CPU or on CUDA devices."""

    name = "jax"
    title = "JAX"
    packages = ("jax",)
    install = "pip install 'paribus[jax]'"
    capabilities = Capabilities(
        operations=frozenset(
            {"conv2d", "batch_norm", "linear", "relu", "relu6", "tanh", "max_pool2d"}
            | {"global_avg_pool", "adaptive_avg_pool2d", "flatten", "add"}
            | {"tokens", "class_token", "position_embedding", "first_token"}
            | {"layer_norm", "gelu", "attention", "token_embedding", "segment_embedding"}
            | {"token_positions", "dot_product_attention", "mean_tokens", "last_token"}
            | {"predicted_tokens", "shared_linear", "dropout", "stochastic_depth"}
            | {"attention_dropout"}
        ),
        rules=frozenset(RULES),
        precisions=frozenset({"float32", "float64", "bfloat16"}),
        device_types=frozenset({"cpu", "cuda"}),
        replicated=frozenset(("linear", "relu", "tanh", "dropout", "flatten")),
        # Measured on one core, ten MLPs, Adam, 64 rows: at 0.15 million 1.65 × as fast as one by
        # one, whose steps are a compiled loop already. Larger ones were not measured.
        replicated_work=150_000,
        parts=True,
    )

    def available(self) -> str | None:
        """Return None when JAX is there, else the reason."""
        missing = [name for name in self.packages if find_spec(name) is None]
        return f"{' and '.join(missing)} not installed" if missing else None

    def devices(self) -> list[str]:
        """Return ``cuda:0``, ``cuda:1``, …, ``cpu``."""
        return list(self._devices())

    def open(
        self,
        network: Network,
        task: Task,
        *,
        device: str,
        precision: Precision,
        numerics: Numerics,
    ) -> Session:
        """Open a session; see ``paribus.adapter.Backend.open``."""
        found = self._device(device)
        self._require("precision", {precision}, self.capabilities.precisions)
        self._require("update rule", {task.rule}, self.capabilities.rules)
        operations = set(network.operations)
        self._require("operation", operations, self.capabilities.operations)
        from paribus.backends.jax.session import JaxSession

        return JaxSession(network, task, found, precision, numerics)

    def open_replicas(
        self,
        network: Network,
        task: Task,
        count: int,
        *,
        device: str,
        precision: Precision,
        numerics: Numerics,
    ) -> Replicas:
        """Open replicas; see ``paribus.adapter.Backend.open_replicas``."""
        found = self._device(device)
        from paribus.backends.jax.replicas import JaxReplicas

        return JaxReplicas(network, task, count, found, precision, numerics)

    def _require(self, what: str, wanted: set[str], able: frozenset[str]) -> None:
        for value in sorted(wanted - able):
            raise Unsupported(
                f"backend jax cannot honour {what} {value!r}; "
                f"allowed: {', '.join(sorted(able))}.{nearest(value, able)}"
            )

    def _device(self, name: str) -> Any:
        """Return JAX's own device by the name that users write."""
        known = self._devices()
        if name not in known:
            raise DeviceMissing(
                f"backend jax: no device {name!r} on this machine; "
                f"allowed: {', '.join(known)}.{nearest(name, known)}"
            )
        return known[name]

    def _devices(self) -> dict[str, Any]:
        """Return JAX's own devices by the names that users write."""
        reason = self.available()
        if reason:
            raise BackendMissing(f"backend jax: {reason}; install it with: {self.install}")
        before = os.environ.get(PREALLOCATE)
        os.environ.setdefault(PREALLOCATE, "false")
        try:
            import jax

            found = {
                f"cuda:{index}": device
                for index, device in enumerate(d for d in jax.devices() if d.platform == "gpu")
            }
            return {**found, "cpu": jax.devices("cpu")[0]}
        finally:
            if before is None:
                del os.environ[PREALLOCATE]


backend = JaxBackend()
