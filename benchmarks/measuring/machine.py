"""Where a benchmark ran: the processor, the memory, and the versions of what was measured."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "paribus", "numpy", "torch", "torchvision", "tensorflow", "keras", "transformers", "jax",
    "lightning", "skorch", "accelerate", "scikit-learn", "optuna", "pillow",
)  # fmt: skip


def hardware() -> dict[str, Any]:
    """Return processor and GPU, how many cores this process may use, memory and system."""
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "processor": _processor(),
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "memory_gib": round(_memory() / 2**30, 1),
        "gpu": _gpu(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load": [round(value, 2) for value in os.getloadavg()],
    }


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the installed versions; what is not installed is left out."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _gpu() -> str:
    """Return what NVIDIA's own program calls the first GPU; nothing without one."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    words = (program, "--query-gpu=name", "--format=csv,noheader")
    found = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    return found.strip().partition("\n")[0]


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
