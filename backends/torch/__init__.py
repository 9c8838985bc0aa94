"""The PyTorch adapter: torchvision's own models, anything else built from the network's nodes.

This module is only the descriptor. It is imported to list backends, on machines that may have no
PyTorch at all, so the framework is imported inside of methods alone.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from paribus.adapter import Array, Backend, Capabilities, Numerics, Precision, Session, Task
from paribus.architectures import Network, Shape
from paribus.errors import BackendMissing, DeviceMissing, Unsupported
from paribus.native.builder import Builder
from paribus.native.inspection import Inspection
from paribus.native.network import NativeNetwork
from paribus.optimizers import RULES

if TYPE_CHECKING:
    from torch.nn import Module

    from paribus.backends.torch.models import Model
    from paribus.replicas import Replicas


class TorchBackend(Backend):
    """PyTorch; also what another adapter of ``torch.nn.Module`` derives from (see ``model``)."""

    name = "torch"
    title = "PyTorch"
    packages: tuple[str, ...] = ("torch", "torchvision")
    install = "pip install 'paribus[torch]'"
    capabilities = Capabilities(
        operations=frozenset(
            ("conv2d", "batch_norm", "linear", "relu", "relu6", "tanh", "max_pool2d",
             "global_avg_pool", "adaptive_avg_pool2d", "flatten", "add", "tokens", "class_token",
             "position_embedding", "first_token", "layer_norm", "gelu", "attention",
             "token_embedding", "segment_embedding", "token_positions", "dot_product_attention",
             "mean_tokens", "last_token", "predicted_tokens", "shared_linear", "dropout",
             "stochastic_depth", "attention_dropout", "native")
        ),
        rules=frozenset(RULES),
        precisions=frozenset(("float32", "float64", "bfloat16")),
        device_types=frozenset(("cpu", "cuda", "mps")),
        replicated=frozenset(
            {"linear", "relu", "relu6", "tanh", "dropout", "flatten"}
            | {"conv2d", "batch_norm", "max_pool2d", "global_avg_pool"}
        ),
        # Measured on one core, ten MLPs, Adam, 64 rows: at 0.15 million 4.9 × as fast as one by
        # one, at 0.6 million 2.9 ×, at 3 million 1.9 ×, at 6.5 million 1.5 ×, at 13 million 1.3 ×,
        # at 26 million no faster.
        replicated_work=8_000_000,
        # CNNs of two blocks, SGD, 32 rows, float32, one core, five and fifteen: at 0.2 million 3.0
        # and 5.4 × as fast as one by one, at 0.8 million 2.6 and 3.9 ×, at 2.7 million 2.1 and
        # 2.5 ×; at 6 million five are 1.7 ×.
        replicated_convolutions=6_000_000,
        replicated_devices=frozenset(("cpu", "cuda")),
        parts=True,
    )  # fmt: skip
    reads = frozenset((".pth", ".pt", ".bin"))

    def available(self) -> str | None:
        """Return None when every package can be found, else which ones cannot."""
        missing = [package for package in self.packages if find_spec(package) is None]
        return f"{' and '.join(missing)} not installed" if missing else None

    def devices(self) -> list[str]:
        """Return CUDA devices, then ``mps``, then ``cpu``."""
        self._require()
        import torch

        cuda = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        mps = ["mps"] if torch.backends.mps.is_available() else []
        return [*cuda, *mps, "cpu"]

    def open(
        self,
        network: Network,
        task: Task,
        *,
        device: str,
        precision: Precision,
        numerics: Numerics,
    ) -> Session:
        """Open a session; ``cuda`` alone means the first CUDA device."""
        present = self.devices()
        wanted = "cuda:0" if device == "cuda" else device
        if wanted.startswith("mps") and precision == "float64":
            raise Unsupported(
                "precision = 'float64' does not exist on device 'mps'; "
                "use 'float32' there, or device 'cpu' for float64"
            )
        if wanted not in present:
            raise DeviceMissing(
                f"device = {device!r} is not on this machine; {self.title} sees: "
                f"{', '.join(present)}"
            )
        from paribus.backends.torch.engine import TorchSession

        if not isinstance(network, NativeNetwork):
            model = self.model(network)
        else:
            from paribus.backends.torch.native import open_model

            builder = network.builder(self.name)
            model = open_model(builder, network, precision, self.own_kind())
        return TorchSession(network, task, model, wanted, precision, numerics)

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
        """Open replicas; they compute from the network's nodes, whatever ``model`` returns."""
        self._require()
        from paribus.backends.torch.replicas import TorchReplicas

        return TorchReplicas(network, task, count, device, precision, numerics)

    def inspect(self, builder: Builder, input_shape: Shape, seed: int) -> Inspection:
        """Build a user's ``torch.nn.Module`` and look at it; see ``paribus.adapter``."""
        self._require()
        from paribus.backends.torch.native import inspect

        return inspect(builder, input_shape, seed, self.own_kind())

    def own_kind(self) -> type[Module]:
        """Return what a builder of the user's has to return."""
        from torch.nn import Module

        return Module

    def read_tensors(self, path: Path) -> dict[str, Array]:
        """Read a state dict that ``torch.save`` wrote."""
        self._require()
        from paribus.backends.torch.files import read

        return read(path)

    def model(self, network: Network) -> Model:
        """Return the native module of ``network`` and how to work with it."""
        from paribus.backends.torch.models import build

        return build(network)

    def _require(self) -> None:
        reason = self.available()
        if reason:
            raise BackendMissing(f"backend {self.name!r}: {reason}; install it: {self.install}")


backend = TorchBackend()
