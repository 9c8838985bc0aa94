"""Two of the user's models side by side: which module is which, and what they declare otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from paribus.adapter import Array
from paribus.architectures import INPUT, Network, Node, Shape
from paribus.native.inspection import Inspection, NativeModule, NativeTensor, Setting
from paribus.native.network import NativeNetwork

# Settings that core's nodes have as numbers, by operation.
NODES = {
    "batch_norm": ("eps", "momentum"),
    "layer_norm": ("eps",),
    "linear": (),
    "conv2d": ("kernel", "stride", "padding", "groups"),
}
LEAVES = {"scale": "weight", "shift": "bias", "mean": "running_mean", "variance": "running_var"}


@dataclass(frozen=True)
class Pair:
    """A reference's model and another's.

    Attributes:
        network: of both, in canonical names.
        names: of the two backends; the first is the reference of the comparison.
        inspections: of the two models.
    """

    network: NativeNetwork
    names: tuple[str, str]
    inspections: tuple[Inspection, Inspection]

    def module(self, side: int, node: str) -> NativeModule | None:
        """Return the module of a backend (0, 1) that has a canonical node's first tensor."""
        backend, found = self.names[side], self.inspections[side]
        tensor = next(name for name, t in self.network.tensors.items() if t.node == node)
        if backend not in self.network.tables:
            return found.module(node)
        part = self.network.tables[backend][tensor][0].name
        owner = next(t.module for t in self.network.native[backend] if t.name == part)
        return found.module(owner)

    def between(self, side: int, before: str, node: str) -> list[NativeModule]:
        """Return what a backend calls between two nodes; from the start for an empty first."""
        called = self.inspections[side].modules
        end = _place(called, self.module(side, node))
        start = _place(called, self.module(side, before)) + 1 if before else 0
        return list(called[start:end]) if end >= 0 else []

    def declared(self, node: str, before: str) -> list[str]:
        """Return what the two modules of a node declare otherwise, and what is called before them.

        Args:
            node: whose output differs.
            before: the last node before it that agrees, or empty.
        """
        ours, theirs = (self._with_padding(side, node) for side in (0, 1))
        lines = []
        if ours is not None and theirs is not None:
            lines = [
                f"{self._said(0, ours)} has {key} {_shown(ours.settings[key])}, "
                f"{self._said(1, theirs)} has {key} {_shown(theirs.settings[key])}"
                for key in ours.settings
                if key in theirs.settings and ours.settings[key] != theirs.settings[key]
            ]
        return lines + list(self._on_the_way(before, node))

    def node(self, name: str, given: Shape) -> Network | None:
        """Return a network of this one node, as the reference's module declares it.

        Its input is what the module is given (shape of one example). None where core's definitions
        do not have it.
        """
        module = self.module(0, name)
        if module is None or module.op not in NODES:
            return None
        attributes = _attributes(module)
        if attributes is None:
            return None
        node = Node(name, module.op, (INPUT,), name, given, attributes)
        return Network("native", {}, given, self.network.classes, (node,), {})

    def tensors(self, node: str, weights: Mapping[str, Array]) -> dict[str, Array]:
        """Return a node's tensors in core's names and layouts: ``bn1/gamma`` is ``bn1.weight``.

        Args:
            node: canonical.
            weights: by canonical name.
        """
        known = {tensor.name: tensor for tensor in self._canonical()}
        found = {}
        for name, tensor in self.network.tensors.items():
            if tensor.node != node or name not in known:
                continue
            leaf, layout, array = known[name].leaf, known[name].layout, weights[name]
            wanted = "".join(letter for letter in "OIHW" if letter in layout)
            if layout and len(wanted) == len(layout):
                array = array.transpose([layout.index(letter) for letter in wanted])
            found[f"{node}.{LEAVES.get(leaf, leaf)}"] = array
        return found

    def _canonical(self) -> tuple[NativeTensor, ...]:
        """Return the tensors as the backend knows them whose names are canonical, if it is here."""
        for name, inspection in zip(self.names, self.inspections, strict=True):
            if name not in self.network.tables:
                return inspection.tensors
        return ()

    def _with_padding(self, side: int, node: str) -> NativeModule | None:
        """Return a module; what a layer right before it pads counts as its own padding."""
        module = self.module(side, node)
        if module is None or module.op != "conv2d":
            return module
        called = self.inspections[side].modules
        place = _place(called, module)
        if place < 1 or called[place - 1].op != "padding":
            return module
        sides = [str(m.settings["padding"]).split(",") for m in (called[place - 1], module)]
        padding = ",".join(str(int(a) + int(b)) for a, b in zip(*sides, strict=True))
        return replace(module, settings={**module.settings, "padding": padding})

    def _said(self, side: int, module: NativeModule) -> str:
        return f"{self.names[side]}'s {module.name} ({module.kind})"

    def _on_the_way(self, before: str, node: str) -> Iterator[str]:
        ours, theirs = (
            [m for m in self.between(side, before, node) if m.op not in ("padding", "")]
            for side in (0, 1)
        )
        if [(m.op, dict(m.settings)) for m in ours] == [(m.op, dict(m.settings)) for m in theirs]:
            return
        where = f"between {before} and {node}" if before else f"before {node}"
        lists = [", ".join(map(_listed, modules)) or "no module" for modules in (ours, theirs)]
        yield f"{where} {self.names[0]} calls {lists[0]}; {self.names[1]} calls {lists[1]}"


def _place(called: tuple[NativeModule, ...], module: NativeModule | None) -> int:
    return called.index(module) if module in called else -1


def _shown(value: Setting) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _listed(module: NativeModule) -> str:
    said = ", ".join(f"{key} {_shown(value)}" for key, value in module.settings.items())
    return f"{module.kind} ({said})" if said else module.kind


def _attributes(module: NativeModule) -> dict[str, float] | None:
    """Return a node's attributes, or None where core has no node like this module."""
    settings = dict(module.settings)
    found: dict[str, float] = {}
    for key in NODES[module.op]:
        value = settings.get(key)
        numbers = str(value).split(",")
        if value is None or len(set(numbers)) != 1:
            return None
        try:
            found[key] = float(numbers[0])
        except ValueError:
            return None
    if str(settings.get("dilation", "1,1")) != "1,1" or "activation" in settings:
        return None
    if "bias" in settings:
        found["bias"] = float(bool(settings["bias"]))
    return {**found, "transposed": 0.0} if module.op == "linear" else found
