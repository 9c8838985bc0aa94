"""What a backend says of a user's model: its tensors, its modules, and what they declare.

Core knows nothing of what such a model computes. It knows the tensors, in the order in which the
model defines them, and for people what the modules say of themselves: two ports whose outputs part
often say why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy.typing as npt

from paribus.architectures.network import Shape

Array = npt.NDArray[Any]
Setting = float | str


@dataclass(frozen=True)
class NativeTensor:
    """A tensor of a user's model, in its framework's own name and layout.

    Attributes:
        name: as the framework writes it (``conv1.weight``, ``conv1/kernel``).
        kind: ``parameter`` if the model trains it; ``statistic`` for everything else that it
            keeps (running moments, frozen weights, constants).
        role: what weight decay asks for; see ``architectures.Tensor``.
        module: name of the module that owns it; empty for the model itself.
        leaf: what the tensor is to its module in words that all frameworks share: ``weight``,
            ``bias``, ``scale``, ``shift``, ``mean``, ``variance``; ``query weight`` (key, value)
            of attention, ``query+key+value weight`` where it is one tensor; else its last name.
        layout: a letter an axis, equal letters for what is the same in every framework: ``OIHW``
            of a convolution; empty where the backend does not know.
    """

    name: str
    shape: Shape
    kind: Literal["parameter", "statistic"]
    role: Literal["weight", "bias", "norm"]
    module: str
    leaf: str
    layout: str = ""


@dataclass(frozen=True)
class NativeModule:
    """A module of a user's model, as it describes itself.

    Attributes:
        name: as tensors name it.
        kind: the class, for people.
        op: what it does in core's words (``architectures.network``), or empty.
        settings: what it declares, in core's words and units: ``eps``; ``momentum``, the share of
            the new batch; ``stride``; ``padding`` as ``top,bottom,left,right``; ``gelu``; …
    """

    name: str
    kind: str
    op: str = ""
    settings: Mapping[str, Setting] = field(default_factory=dict)


@dataclass(frozen=True)
class Inspection:
    """A user's model, built once and looked at.

    Attributes:
        tensors: in the order in which the model defines them.
        modules: in the order in which a forward pass calls them, each once; those that a backend
            cannot observe are absent.
        outputs: shape of the output for one example.
        initial: the values that the model was built with, by name.
    """

    tensors: tuple[NativeTensor, ...]
    modules: tuple[NativeModule, ...]
    outputs: Shape
    initial: Mapping[str, Array]

    def module(self, name: str) -> NativeModule | None:
        """Return the module called ``name``, where the backend has seen it."""
        return next((module for module in self.modules if module.name == name), None)
