"""State dicts of PyTorch (``.pth``, ``.pt``, ``.bin``), read as tensors and as nothing else.

Such a file is a pickle: read freely, it runs whatever its author wrote into it. PyTorch's
``weights_only`` mode builds tensors and containers from a closed list and refuses all else, but
before version 2.6 a prepared file could get around it, so those versions are refused here. Before
PyTorch sees a file, ``screening`` has read it without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from paribus.adapter import Array
from paribus.backends.torch.screening import Asked, Unfit, screen
from paribus.errors import WeightsError

SAFE = (2, 6)
# Where training scripts put the state dict beside an optimizer's state and an epoch.
NESTED = ("state_dict", "model_state_dict", "model")
LISTED = 6
MENDED = "Save the model's own state dict: torch.save(model.state_dict(), …), or as safetensors"


def read(path: Path) -> dict[str, Array]:
    """Return the tensors of a state dict by name; bfloat16 as float32, which holds it exactly.

    Raises:
        WeightsError: damaged, anything but dense tensors of numbers, or an unsafe PyTorch.
    """
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < SAFE:
        raise WeightsError(
            f"{path}: PyTorch {torch.__version__} cannot read it safely (CVE-2025-32434: a "
            "prepared file can run code); pip install --upgrade 'torch>=2.6', or give a "
            "safetensors file"
        )
    try:
        screen(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a reader of damaged bytes raises almost anything
        raise WeightsError(_refusal(path, error)) from error
    state = _state_dict(path, loaded)
    tensors = {name: _dense(path, name, tensor) for name, tensor in state.items()}
    # A view may repeat one number a trillion times; copying it out must not fill the memory.
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if claimed > 2 * path.stat().st_size:
        raise WeightsError(
            f"{path}: its tensors claim {claimed:,} bytes, but the file has "
            f"{path.stat().st_size:,}; refused. {MENDED}"
        )
    return {
        name: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).contiguous().numpy()
        for name, tensor in tensors.items()
    }


def _state_dict(path: Path, loaded: Any) -> dict[str, torch.Tensor]:
    if not isinstance(loaded, Mapping):
        raise WeightsError(
            f"{path}: holds a {type(loaded).__name__}, not a state dict of tensors. {MENDED}"
        )
    loaded = next((loaded[key] for key in NESTED if isinstance(loaded.get(key), Mapping)), loaded)
    others = [
        f"{name} ({type(value).__name__})"
        for name, value in loaded.items()
        if not (isinstance(name, str) and isinstance(value, torch.Tensor))
    ]
    if others or not loaded:
        more = f" and {len(others) - LISTED} more" if len(others) > LISTED else ""
        held = f"entries that are not tensors: {', '.join(others[:LISTED])}{more}"
        raise WeightsError(f"{path}: holds {held if others else 'no tensors'}. {MENDED}")
    return dict(loaded)


def _dense(path: Path, name: str, tensor: torch.Tensor) -> torch.Tensor:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        raise WeightsError(
            f"{path}: {name} is a tensor of {tensor.dtype} and layout {tensor.layout}; allowed: "
            "dense tensors of real numbers. Convert it to float32 first"
        )
    if tensor.device.type != "cpu":
        raise WeightsError(f"{path}: {name} has no values (device {tensor.device}). {MENDED}")
    return tensor.detach()


def _refusal(path: Path, error: Exception) -> str:
    """Say what a file asked for; PyTorch's own message advises to read it unsafely."""
    named = re.search(r"GLOBAL (\S+)", str(error))
    asked = str(error) if isinstance(error, Asked) else named and named[1]
    if asked:
        return (
            f"{path} is refused: it is not just tensors, it asks for {asked}, which could run "
            f"code when it is read; nothing of it was executed. {MENDED}"
        )
    why = str(error) if isinstance(error, Unfit) else type(error).__name__
    return (
        f"{path} is not a readable PyTorch state dict ({why}): damaged, or of "
        f"another kind (a TorchScript archive, a whole pickled model). {MENDED}"
    )
