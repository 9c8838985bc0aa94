"""Compiled functions, each kept under what it depends on, and the settings that they run under.

Double precision and the precision of products are settings of JAX. They are set around each
computation, for this thread only, so that a session and the user's own code do not disturb each
other. Compiling happens before the first call and is timed apart from training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import jax

from paribus.backends.jax.memory import memory


class Compiled:
    """The compiled functions of one session.

    Attributes:
        seconds: spent so far on tracing and compiling.
    """

    def __init__(self, device: Any, *, strict: bool) -> None:
        self.seconds = 0.0
        self._device = device
        self._functions: dict[Any, Callable[..., Any]] = {}
        # Of the platforms only GPUs have kernels that add up in any order.
        deterministic = strict and device.platform == "gpu"
        self._options = {"xla_gpu_deterministic_ops": True} if deterministic else {}

    @contextmanager
    def computing(self, *, tf32: bool = False) -> Iterator[None]:
        """Work on the session's device under its settings.

        ``tf32``: whether products in float32 may read fewer bits of their factors, as JAX lets a
        GPU do where nothing is said.
        """
        with ExitStack() as settings:
            settings.enter_context(memory)
            settings.enter_context(double_precision())
            settings.enter_context(jax.default_device(self._device))
            if not tf32:
                settings.enter_context(jax.default_matmul_precision("highest"))
            yield

    def place(self, tree: Any) -> Any:
        """Copy a tree of arrays to the device; what is there already stays."""
        return jax.device_put(tree, self._device)

    def call(
        self,
        key: tuple[Any, ...],
        make: Callable[[], Callable[..., Any]],
        *arguments: Any,
        donated: tuple[int, ...] = (),
        tf32: bool = False,
    ) -> Any:
        """Call the function of this key and these shapes; compile it first when it is new.

        Args:
            key: with the arguments' shapes, everything that the function depends on.
            make: returns the function to compile.
            arguments: trees of arrays.
            donated: numbers of those whose memory the results may take; they are gone afterwards.
            tf32: as of ``computing``; part of what the function depends on.
        """
        with self.computing(tf32=tf32):
            placed = self.place(arguments)
            leaves, structure = jax.tree.flatten(placed)
            full = (*key, tf32, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves))
            if full not in self._functions:
                start = time.perf_counter()
                function = jax.jit(make(), donate_argnums=donated)
                self._functions[full] = function.lower(*placed).compile(self._options)
                self.seconds += time.perf_counter() - start
            return self._functions[full](*placed)

    def forget(self, which: Callable[[tuple[Any, ...]], bool]) -> None:
        """Forget functions by their keys."""
        for key in [key for key in self._functions if which(key)]:
            del self._functions[key]

    def clear(self) -> None:
        """Forget all functions."""
        self._functions.clear()


def double_precision() -> Any:
    """Return a context in which arrays of 64 bits stay so; by default JAX makes them 32."""
    # Where it was before JAX 0.8.
    experimental = getattr(jax.experimental, "enable_x64", None)
    return experimental() if experimental else jax.enable_x64(True)
