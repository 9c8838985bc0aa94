"""Open saved models with their framework alone and write their logits: what a user does without us.

    python opened.py BACKEND FOLDER

For each ``FOLDER/ARCHITECTURE/native`` this reads ``inputs.npy`` beside it (float64 [n, C, H, W])
and writes ``logits.npy``. Only the wrapped models of the Hugging Face adapter, which transformers
does not have, import paribus.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def _vgg11_bn() -> Any:
    from torch import nn
    from torchvision.models import vgg11_bn

    model = vgg11_bn(num_classes=3)
    model.classifier[0], model.classifier[3] = nn.Linear(25088, 12), nn.Linear(12, 12)
    model.classifier[6] = nn.Linear(12, 3)
    return model


def _mobilenet_v2() -> Any:
    from torchvision.models import MobileNetV2

    return MobileNetV2(num_classes=3, width_mult=0.25)


def _vit() -> Any:
    from torchvision.models import VisionTransformer

    return VisionTransformer(8, 4, 2, 2, 8, 12, num_classes=3)


TORCHVISION: dict[str, Callable[[], Any]] = {
    "vgg11_bn": _vgg11_bn,
    "mobilenet_v2": _mobilenet_v2,
    "vit": _vit,
}


def _torch(architecture: str, saved: Path) -> Callable[[Any], Any]:
    import torch
    from safetensors.torch import load_file

    with torch.device("meta"):
        model = TORCHVISION[architecture]()
    model.load_state_dict(load_file(saved / "model.safetensors"), strict=True, assign=True)
    model.eval()
    return lambda x: model(torch.from_numpy(x)).detach().numpy()


def _tensorflow(architecture: str, saved: Path) -> Callable[[Any], Any]:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    model = keras.saving.load_model(saved / "model.keras")
    return lambda x: model(x.transpose(0, 2, 3, 1)).numpy()


def _huggingface(architecture: str, saved: Path) -> Callable[[Any], Any]:
    import torch
    from transformers import AutoModelForImageClassification, ViTForImageClassification

    if architecture == "vit":
        model = ViTForImageClassification.from_pretrained(saved)
    else:
        import paribus.backends.huggingface.models  # noqa: F401

        model = AutoModelForImageClassification.from_pretrained(saved)
    model.eval()
    return lambda x: model(torch.from_numpy(x)).logits.detach().numpy()


def _jax(architecture: str, saved: Path) -> Callable[[Any], Any]:
    import jax
    from jax import export
    from safetensors.numpy import load_file

    model = export.deserialize(bytearray((saved / "apply.jax").read_bytes()))
    params = load_file(saved / "model.safetensors")

    def call(x: Any) -> Any:
        with jax.enable_x64(True):
            return np.asarray(model.call(params, x.transpose(0, 2, 3, 1)))

    return call


LOAD = {"torch": _torch, "tensorflow": _tensorflow, "huggingface": _huggingface, "jax": _jax}


def main() -> None:
    backend, root = sys.argv[1:]
    # ViT first: it must open before paribus is imported for the others.
    for folder in sorted(Path(root).iterdir(), reverse=True):
        model = LOAD[backend](folder.name, folder / "native")
        np.save(folder / "logits.npy", model(np.load(folder / "inputs.npy")))


if __name__ == "__main__":
    main()
