"""The TensorFlow adapter's descriptor: what it can do, said without importing TensorFlow.

The adapter trains Keras models with an update and a loop of paribus's own, so everything that a
framework could silently choose (momentum's form, epsilons, BatchNorm's variance, padding) is
core's. Keras contributes the container: variables, and the ``keras.Model`` that the user keeps.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Set
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from paribus.adapter import Array, Backend, Capabilities, Numerics, Precision, Session, Task
from paribus.architectures import Network, Shape
from paribus.errors import BackendError, BackendMissing, DeviceMissing, Unsupported, nearest
from paribus.native.builder import Builder
from paribus.native.inspection import Inspection
from paribus.native.network import NativeNetwork
from paribus.optimizers import RULES
from paribus.replicas import Replicas


class TensorFlowBackend(Backend):
    """Keras 3 models on TensorFlow, on a CPU or on CUDA devices."""

    name = "tensorflow"
    title = "TensorFlow"
    packages = ("tensorflow", "keras")
    install = "pip install 'paribus[tensorflow]'"
    capabilities = Capabilities(
        operations=frozenset(
            {"conv2d", "batch_norm", "linear", "relu", "relu6", "tanh", "max_pool2d"}
            | {"global_avg_pool", "adaptive_avg_pool2d", "flatten", "add"}
            | {"tokens", "class_token", "position_embedding", "first_token"}
            | {"layer_norm", "gelu", "attention", "token_embedding", "segment_embedding"}
            | {"token_positions", "dot_product_attention", "mean_tokens", "last_token"}
            | {"predicted_tokens", "shared_linear", "native"}
            | {"dropout", "stochastic_depth", "attention_dropout"}
        ),
        rules=frozenset(RULES),
        precisions=frozenset({"float32", "float64", "bfloat16"}),
        device_types=frozenset({"cpu", "cuda"}),
        replicated=frozenset(("linear", "relu", "tanh", "dropout", "flatten")),
        parts=True,
    )
    reads = frozenset({".h5"})

    def available(self) -> str | None:
        """Return None when both packages are there, else the reason."""
        missing = [name for name in self.packages if find_spec(name) is None]
        return f"{' and '.join(missing)} not installed" if missing else None

    def devices(self) -> list[str]:
        """Return ``cuda:0``, ``cuda:1``, …, ``cpu``."""
        count = len(self._tensorflow().config.list_physical_devices("GPU"))
        return [*(f"cuda:{index}" for index in range(count)), "cpu"]

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
        self._on(device)
        self._require("precision", {precision}, self.capabilities.precisions)
        self._require("update rule", {task.rule}, self.capabilities.rules)
        self._require("operation", network.operations, self.capabilities.operations)
        if isinstance(network, NativeNetwork):
            from paribus.backends.tensorflow.native import NativeSession

            return NativeSession(network, task, device, precision, numerics)
        from paribus.backends.tensorflow.engine import TensorFlowSession

        return TensorFlowSession(network, task, device, precision, numerics)

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
        self._on(device)
        from paribus.backends.tensorflow.replicas import TensorFlowReplicas

        return TensorFlowReplicas(network, task, count, device, precision, numerics)

    def inspect(self, builder: Builder, input_shape: Shape, seed: int) -> Inspection:
        """Build a user's ``keras.Model`` and look at it; see ``paribus.adapter``."""
        self._tensorflow()
        from paribus.backends.tensorflow.native_models import inspect

        return inspect(builder, input_shape, seed)

    def read_tensors(self, path: Path) -> dict[str, Array]:
        """Read a Keras file of weights; what it holds is returned under canonical names."""
        reason = self.available()
        if reason:
            raise BackendMissing(f"backend tensorflow: {reason}; install it with: {self.install}")
        # Of h5py and NumPy alone.
        from paribus.backends.tensorflow.files import read

        return read(path)

    def _on(self, device: str) -> None:
        """Require a device to be there."""
        known = self.devices()
        if device not in known:
            raise DeviceMissing(
                f"backend tensorflow: no device {device!r} on this machine; "
                f"allowed: {', '.join(known)}.{nearest(device, known)}"
            )

    def _require(self, what: str, wanted: Set[str], able: frozenset[str]) -> None:
        for value in sorted(wanted - able):
            raise Unsupported(
                f"backend tensorflow cannot honour {what} {value!r}; "
                f"allowed: {', '.join(sorted(able))}.{nearest(value, able)}"
            )

    def _tensorflow(self) -> Any:
        reason = self.available()
        if reason:
            raise BackendMissing(f"backend tensorflow: {reason}; install it with: {self.install}")
        if "keras" not in sys.modules or "tensorflow" not in sys.modules:
            with _environment(KERAS_BACKEND="tensorflow"), _quiet():
                import keras
                import tensorflow as tf

                # By default TensorFlow takes all of a GPU's memory at its first computation.
                for gpu in tf.config.list_physical_devices("GPU"):
                    tf.config.experimental.set_memory_growth(gpu, True)
        import keras
        import tensorflow as tf

        if keras.config.backend() != "tensorflow":
            raise BackendError(
                f"Keras was imported in this process with its {keras.config.backend()!r} backend, "
                "and Keras cannot change that; paribus needs 'tensorflow'. Set the environment "
                "variable KERAS_BACKEND=tensorflow before Keras is imported, or run paribus in a "
                "process of its own"
            )
        return tf


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Set variables that the frameworks read once, at import, and put the user's back."""
    # TensorFlow logs what it found on the machine at every start, and calls a missing GPU an
    # error; what is wrong for us it raises.
    values.setdefault("TF_CPP_MIN_LOG_LEVEL", os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3"))
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what C++ code writes to standard error; say it after all where it ends in an error.

    TensorFlow logs several lines at every import, before its own log level has a say.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)


backend = TensorFlowBackend()
