"""Operators of an ONNX graph as plain values, before there is a file.

Translating a network into them needs neither the package onnx nor any tensor: weights are spoken
of by their canonical names, and ``writer`` asks for each array when it writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus.architectures import Shape

Array = npt.NDArray[Any]
Attribute = int | float | list[int]

TRANSPOSED = ".transposed"


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator: ``outputs`` ← ``op``(``inputs``), all values by name."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]


class Graph:
    """A graph under construction.

    Attributes:
        operators: in the order of execution.
        constants: small arrays that the operators read, by the names of their values.
        weights: canonical names of the tensors that the operators read, by the names of their
            values, which end in ``TRANSPOSED`` where the last two axes are exchanged.
        shapes: of one example's values, by name, of the network's inputs and nodes.
        scope: what the names of the next values start with: the network's node.
    """

    def __init__(self) -> None:
        self.operators: list[Operator] = []
        self.constants: dict[str, Array] = {}
        self.weights: dict[str, str] = {}
        self.shapes: dict[str, Shape] = {}
        self.scope = ""
        self._names: set[str] = set()
        self._shared: dict[str, str] = {}
        self._contents: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def add(self, op: str, *inputs: str, **attributes: Attribute) -> str:
        """Add an operator with one output, and return the name of that value."""
        return self.add_many(op, 1, *inputs, **attributes)[0]

    def add_many(
        self, op: str, outputs: int, *inputs: str, **attributes: Attribute
    ) -> tuple[str, ...]:
        """Add an operator with several outputs, and return the names of those values."""
        names = tuple(self._name(f"{self.scope}/{op}") for _ in range(outputs))
        self.operators.append(Operator(op, inputs, names, attributes))
        return names

    def result(self, value: str, name: str) -> None:
        """Make a value the graph's output under a name of its own."""
        self.operators.append(Operator("Identity", (value,), (name,), {}))

    def weight(self, tensor: str, *, transposed: bool = False) -> str:
        """Return the value of a canonical tensor."""
        name = tensor + TRANSPOSED if transposed else tensor
        self.weights[name] = tensor
        return name

    def number(self, value: float) -> str:
        """Return the value of a float32 scalar."""
        return self.constant(np.array(value, dtype=np.float32))

    def integers(self, *values: int) -> str:
        """Return the value of an int64 vector: a shape, axes, or positions."""
        return self.constant(np.array(values, dtype=np.int64))

    def constant(self, array: Array) -> str:
        """Return the value of an array; equal arrays are one value."""
        content = (array.dtype.str, array.shape, array.tobytes())
        if content not in self._contents:
            name = self._name("constant")
            self._contents[content] = name
            self.constants[name] = array
        return self._contents[content]

    def shared(self, name: str, make: Callable[[], str]) -> str:
        """Return a value that several nodes read, made by the first of them."""
        if name not in self._shared:
            scope, self.scope = self.scope, name
            self._shared[name] = make()
            self.scope = scope
        return self._shared[name]

    def reads(self, value: str) -> bool:
        """Whether any operator reads a value."""
        return any(value in operator.inputs for operator in self.operators)

    def _name(self, wanted: str) -> str:
        name, number = wanted, 1
        while name in self._names:
            number += 1
            name = f"{wanted}_{number}"
        self._names.add(name)
        return name
