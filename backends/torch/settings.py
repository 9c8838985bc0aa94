"""The process-wide settings of PyTorch that ``numerics`` stands for, and their way back.

Determinism and TF32 are switches of the whole process. They are set around each computation and
put back after it, so that several sessions, or a session and the user's own code, do not disturb
each other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.utils.deterministic

from paribus.adapter import Numerics

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def prepare(numerics: Numerics, device: torch.device) -> None:
    """Set what a library reads only once, when it is first used on ``device``."""
    if numerics == "strict" and device.type == "cuda":
        # cuBLAS is repeatable only with a fixed workspace, read when its handle is made. A value
        # that the user has chosen stays.
        os.environ.setdefault(WORKSPACE, ":4096:8")


@contextmanager
def applied(numerics: Numerics, device: torch.device) -> Iterator[None]:
    """Compute under what ``numerics`` means on ``device``."""
    strict, cuda = numerics == "strict", device.type == "cuda"
    before = _read()
    # On a CPU the lower settings mean bfloat16 products inside oneDNN.
    precision = "high" if cuda and not strict else "highest"
    # Deterministic mode also fills fresh memory with NaN, a debugging aid that costs a pass over
    # every activation; no result here depends on memory that was not written.
    _write((strict, False, False, strict, cuda and not strict, not strict, precision))
    try:
        yield
    finally:
        _write(before)


_State = tuple[bool, bool, bool, bool, bool, bool, str]


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
    )


def _write(state: _State) -> None:
    enabled, warn_only, fill, deterministic, benchmark, tf32, precision = state
    torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
    torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
    cudnn = torch.backends.cudnn
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32 = deterministic, benchmark, tf32
    torch.set_float32_matmul_precision(precision)
