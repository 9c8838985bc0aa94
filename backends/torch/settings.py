"""The process-wide settings of PyTorch that ``numerics`` stands for, and their way back.

Determinism and TF32 are switches of the whole process, so a session notes what it found and puts
it back on closing. Sessions that are open at once must close in reverse order, as ``with`` does.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
import torch.utils.deterministic

from paribus.adapter import Numerics

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def apply(numerics: Numerics, device: torch.device) -> Callable[[], None]:
    """Set what ``numerics`` means on ``device``; return the function that undoes it."""
    strict, cuda = numerics == "strict", device.type == "cuda"
    before = _read()
    torch.use_deterministic_algorithms(strict)
    # Deterministic mode also fills fresh memory with NaN, a debugging aid that costs a pass over
    # every activation; no result here depends on memory that was not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if cuda:
        cudnn = torch.backends.cudnn
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32 = strict, not strict, not strict
        torch.set_float32_matmul_precision("highest" if strict else "high")
        if strict:
            # cuBLAS is repeatable only with a fixed workspace, read when its handle is made.
            os.environ[WORKSPACE] = ":4096:8"
    else:
        # On a CPU the lower settings mean bfloat16 products inside oneDNN.
        torch.set_float32_matmul_precision("highest")
    return lambda: _write(before, cuda)


_State = tuple[bool, bool, bool, bool, bool, bool, str, str | None]


def _read() -> _State:
    cudnn = torch.backends.cudnn
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        cudnn.deterministic,
        cudnn.benchmark,
        cudnn.allow_tf32,
        torch.get_float32_matmul_precision(),
        os.environ.get(WORKSPACE),
    )


def _write(state: _State, cuda: bool) -> None:
    enabled, warn_only, fill, deterministic, benchmark, tf32, precision, workspace = state
    torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
    torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
    torch.set_float32_matmul_precision(precision)
    if cuda:
        cudnn = torch.backends.cudnn
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32 = deterministic, benchmark, tf32
        if workspace is None:
            os.environ.pop(WORKSPACE, None)
        else:
            os.environ[WORKSPACE] = workspace
