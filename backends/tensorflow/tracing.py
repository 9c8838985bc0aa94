"""Traced functions, each kept under what its graph contains, and the switches that they run under.

A trace is expensive and its key therefore small: the decisions taken while tracing, and an
example's shape. Numbers of examples, steps, batches and rows are left open, which costs no
measurable time. Tracing and compiling happen before the
first call and are timed apart from training.

Determinism and TF32 are global switches of TensorFlow. They are set around each computation and
put back after it, so that two sessions, or a session and the user's own code, do not disturb each
other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

# TensorFlow's public interface can switch determinism on but neither off nor read it.
from tensorflow.python.framework import config as switches

from paribus.backends.tensorflow.memory import memory


class Traces:
    """The traced functions of one session.

    Attributes:
        seconds: spent so far on tracing and compiling.
    """

    def __init__(self, device: str, *, strict: bool) -> None:
        self.seconds = 0.0
        self._device, self._strict = device, strict
        self._functions: dict[Any, Callable[..., Any]] = {}

    @contextmanager
    def computing(self, *, tf32: bool = False) -> Iterator[None]:
        """Work on the session's device under its switches.

        ``tf32``: whether products in float32 may read fewer bits of their factors, as TensorFlow
        lets a GPU do where nothing is said.
        """
        before = (
            switches.tensor_float_32_execution_enabled(),
            switches.is_op_determinism_enabled(),
        )
        _switch(tf32, self._strict)
        try:
            with memory, tf.device(self._device):
                yield
        finally:
            _switch(*before)

    def call(
        self,
        key: tuple[Any, ...],
        make: Callable[[], Callable[..., Any]],
        data: Any,
        *arguments: Any,
        xla: bool = False,
        tf32: bool = False,
        idle: Callable[..., tuple[Any, ...]] | None = None,
    ) -> Any:
        """Call the function of this key and these shapes; trace it first when it is new.

        Args:
            key: with the arguments' shapes, everything that the graph depends on.
            make: returns the function to trace.
            data: a tuple of arrays and tensors of which only the first axis may vary.
            arguments: (tuples of) arrays and tensors of which every axis may.
            xla: whether XLA compiles it.
            tf32: as of ``computing``; XLA compiles it in.
            idle: data and arguments → the same that change nothing, for a first call that leaves no
                compiling to the real one.
        """
        with self.computing(tf32=tf32):
            given = tf.nest.map_structure(tf.convert_to_tensor, (data, *arguments))
            specs = (
                tf.nest.map_structure(lambda t: _spec(t, t.shape[1:], xla), given[0]),
                *tf.nest.map_structure(lambda t: _spec(t, (), xla), given[1:]),
            )
            full = (*key, xla, tf32, *tf.nest.flatten(specs))
            if full not in self._functions:
                start = time.perf_counter()
                function = tf.function(
                    make(), input_signature=specs, autograph=False, jit_compile=xla or None
                ).get_concrete_function()
                if idle:
                    function(*idle(*given))
                self._functions[full] = function
                self.seconds += time.perf_counter() - start
            return self._functions[full](*given)

    def forget(self, unwanted: Callable[[tuple[Any, ...]], bool]) -> None:
        """Forget the functions of unwanted keys."""
        for full in [full for full in self._functions if unwanted(full)]:
            del self._functions[full]

    def clear(self) -> None:
        """Forget all functions, and with them the variables that they hold."""
        self._functions.clear()


def _spec(tensor: Any, fixed: Any, xla: bool) -> Any:
    # XLA compiles per shape whatever the signature says: then the time is counted here.
    open_axes = [None] * (len(tensor.shape) - len(fixed))
    return tf.TensorSpec(tensor.shape if xla else [*open_axes, *fixed], tensor.dtype)


def _switch(tf32: bool, deterministic: bool) -> None:
    switches.enable_tensor_float_32_execution(tf32)
    if deterministic:
        switches.enable_op_determinism()
    else:
        switches.disable_op_determinism()
