"""The process-wide settings of PyTorch that ``numerics`` stands for, and their way back.

Determinism and TF32 are switches of the whole process. They are set around each computation and
put back after it, so that several sessions, or a session and the user's own code, do not disturb
each other.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.utils.deterministic

from paribus.adapter import Numerics
from paribus.allocator import keep_memory
from paribus.architectures import Network
from paribus.architectures.cost import products

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
# Multiply-adds of a forward pass below which one CPU thread computes. Measured on two cores: at
# 2.6 million two threads are 1.2 × as fast, and 10 to 30 × slower as soon as another process keeps
# one core busy, because they wait for each other after every small operation; at 33 million they
# are 2 × as fast.
FEW = 8_000_000
_COMPILER = "torch._inductor.config"


def prepare(numerics: Numerics, device: torch.device) -> None:
    """Set what a library reads only once, when it is first used on ``device``."""
    if device.type == "cpu":
        keep_memory()
    if numerics == "strict" and device.type == "cuda":
        # cuBLAS is repeatable only with a fixed workspace, read when its handle is made. A value
        # that the user has chosen stays.
        os.environ.setdefault(WORKSPACE, ":4096:8")


def multiplications(network: Network) -> int:
    """Return the multiply-adds of a forward pass of one example, or a guess of them."""
    # Nothing is known of the user's own code: the machine's default is left as it is.
    own = any(node.op == "native" for node in network.nodes)
    return FEW if own else products(network)


@contextmanager
def applied(
    numerics: Numerics, device: torch.device, work: int, threads: int = 0, *, tf32: bool = False
) -> Iterator[None]:
    """Compute under what ``numerics`` means on ``device``, with threads fit for the ``work``.

    Args:
        numerics, device: the session's.
        work: multiply-adds of one forward pass.
        threads: of a CPU; 0: as many as fit the work.
        tf32: whether a GPU's products in float32 may read their factors in TF32.
    """
    strict, cuda = numerics == "strict", device.type == "cuda"
    before = _read()
    count = threads or threads_for(work, device)
    # On a CPU the lower settings mean bfloat16 products inside oneDNN.
    tf32 = tf32 and cuda
    precision = "high" if tf32 else "highest"
    # Deterministic mode also fills fresh memory with NaN, a debugging aid that costs a pass over
    # every activation; no result here depends on memory that was not written.
    benchmark = cuda and not strict
    _write((strict, False, False, strict, benchmark, tf32, precision, count))
    try:
        yield
    finally:
        _write(before)


def threads_for(work: int, device: torch.device) -> int:
    """Return how many threads fit so many multiply-adds."""
    return 1 if work < FEW and device.type == "cpu" else torch.get_num_threads()


@contextmanager
def reduced(tf32: bool) -> Iterator[None]:
    """Read factors of a GPU's products in float32 in TF32, or not."""
    before = _read()
    _write((*before[:5], tf32, "high" if tf32 else "highest", before[7]))
    try:
        yield
    finally:
        _write(before)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with so many threads; with 0, as many as it is."""
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_State = tuple[bool, bool, bool, bool, bool, bool, str, int]


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
        torch.get_num_threads(),
    )


def _write(state: _State) -> None:
    enabled, warn_only, fill, deterministic, benchmark, tf32, precision, threads = state
    _determine(enabled, warn_only)
    torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
    cudnn = torch.backends.cudnn
    cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32 = deterministic, benchmark, tf32
    torch.set_float32_matmul_precision(precision)
    if threads != torch.get_num_threads():
        torch.set_num_threads(threads)


def _determine(enabled: bool, warn_only: bool) -> None:
    """Set whether algorithms are deterministic.

    ``use_deterministic_algorithms`` tells the compiler too, and imports it for that, which takes a
    second or two; the other name of the switch leaves alone what nobody has imported.
    """
    if _COMPILER in sys.modules:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
    else:
        kind = "warn" if warn_only else "error"
        torch.set_deterministic_debug_mode(kind if enabled else "default")
