"""Contenders in child processes: one for each framework, each waiting for its turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from measuring.contenders import CLOCK
from paribus.closing import Closing

HERE = Path(__file__).parents[1]
# What numerical libraries read when they start.
_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
_LINES = 25


class ChildFailed(Exception):
    """A process ended with an error; the message has the last lines that it wrote."""


class ContenderFailed(ChildFailed):
    """A contender raised an error; its process goes on."""


def environment(threads: int) -> dict[str, str]:
    """Return what children find in their environment: how many threads, and no chatter."""
    return dict.fromkeys(_THREADS, str(threads)) | _QUIET


class Child(Closing):
    """A process that sets contenders up and runs them when asked; a context manager.

    Args:
        threads: how many each library in it may compute with.
        timed_by: a key of ``CLOCKS``.
    """

    def __init__(self, threads: int, timed_by: str = "wall") -> None:
        path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed with the child)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "measuring.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **environment(threads), "PYTHONPATH": path, CLOCK: timed_by},
        )

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request, wait, and return the answer.

        Raises:
            ContenderFailed: the answer is an error.
            ChildFailed: there is none.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._process.wait()
            self._log.seek(0)
            last = self._log.read().splitlines()[-_LINES:]
            raise ChildFailed("\n".join((f"{dict(request)} failed:", *last)))
        answer = dict(json.loads(line))
        if "error" in answer:
            raise ContenderFailed(f"{dict(request)} failed:\n{answer['error']}")
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process.wait()
        self._log.close()
