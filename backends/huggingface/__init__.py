"""The Hugging Face adapter: transformers' models on the stepping engine of the torch adapter.

What differs from ``paribus.backends.torch`` is the object that a user gets and the files that are
saved, so this descriptor replaces the model and nothing else. No framework is imported here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paribus.architectures import Network
from paribus.backends.torch import TorchBackend

if TYPE_CHECKING:
    from torch.nn import Module

    from paribus.backends.torch.models import Model


class HuggingFaceBackend(TorchBackend):
    """Hugging Face transformers on PyTorch."""

    name = "huggingface"
    title = "Hugging Face"
    packages = ("transformers", "torch")
    install = "pip install 'paribus[huggingface]'"

    def model(self, network: Network) -> Model:
        """Return the ``PreTrainedModel`` of ``network``; of a part of one, its nodes."""
        if not network.part:
            from paribus.backends.huggingface.models import build

            return build(network)
        from paribus.backends.huggingface.models import build_part

        return build_part(network) or super().model(network)

    def own_kind(self) -> type[Module]:
        """Return ``PreTrainedModel``."""
        from transformers import PreTrainedModel

        kind: type[Module] = PreTrainedModel
        return kind


backend = HuggingFaceBackend()
