"""A spec's own models on the backends at hand: inspected, named alike, and their first weights.

Whose names are canonical: the reference of the table of names where there is one, else the first of
the backends, in the order in which ``paribus backends`` lists them. Without a table two backends
run on a proposal only where its user has said so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from paribus import registry, weights
from paribus.adapter import Backend
from paribus.architectures.network import Objective, Shape
from paribus.errors import SpecError, listed
from paribus.native import names as files
from paribus.native.builder import Builder
from paribus.native.inspection import Inspection, NativeTensor
from paribus.native.layout import Part, Table, problems, to_canonical
from paribus.native.names import Entry, Names
from paribus.native.network import NativeNetwork, build
from paribus.native.proposing import Proposal, propose
from paribus.spec.native import Native

Array = npt.NDArray[Any]
HOW = (
    "`paribus verify SPEC --backends {} --propose-names > names.json` prints a proposal: look at "
    "it and set native.names = 'names.json'; or run on the proposal with --accept-names"
)


class Natives:
    """The models of a spec's ``[native]`` section on some backends.

    Args:
        section: the spec's.
        backends: the descriptors, or remote ones, that will run it.
        seed: of the weights that a builder draws.
        accept: whether a proposed table of names is good enough.

    Raises:
        SpecError: a backend has no builder, or the table of names cannot be read.
    """

    def __init__(
        self, section: Native, backends: Sequence[Backend], seed: int, *, accept: bool = False
    ) -> None:
        known = section.builders
        lacking = [backend.name for backend in backends if backend.name not in known]
        if lacking:
            raise SpecError(
                f"native: no model for {', '.join(lacking)}; the spec has one for "
                f"{', '.join(known)}. Give native.{lacking[0]} = 'module:function'"
            )
        self._backends = {backend.name: backend for backend in backends}
        self._builders = {
            backend.name: Builder(known[backend.name], section.path or "") for backend in backends
        }
        self._seed, self._accept, self._initial = seed, accept, section.initial
        self._names: Names | None = None if section.names is None else files.read(section.names)
        self._label = section.names or ""
        self._inspected: dict[Shape, dict[str, Inspection]] = {}
        self._networks: dict[tuple[Any, ...], NativeNetwork] = {}
        first = min(self._backends, key=registry.names().index)
        self.reference = first if self._names is None else self._names.reference

    def inspections(self, input_shape: Shape) -> dict[str, Inspection]:
        """Return what each backend says of its model for inputs of a shape, channels first.

        Raises:
            SpecError: a builder fails, or what it returns is no model or does not take the inputs.
            Unsupported: a backend runs no models of the user's own.
        """
        if input_shape not in self._inspected:
            self._inspected[input_shape] = {
                name: backend.inspect(self._builders[name], input_shape, self._seed)
                for name, backend in self._backends.items()
            }
        return self._inspected[input_shape]

    def proposals(self, input_shape: Shape) -> dict[str, Proposal]:
        """Return a proposed table for each backend but the reference.

        Raises:
            SpecError: the reference is not among the backends.
        """
        found = self.inspections(input_shape)
        if self.reference not in found:
            raise SpecError(
                f"{self._label}: the reference {self.reference!r} is not among the backends "
                f"{', '.join(found)}; name it as well"
            )
        ours = found[self.reference]
        return {
            name: propose(ours, other) for name, other in found.items() if name != self.reference
        }

    def proposed(self, input_shape: Shape) -> str:
        """Return the proposals as the text of a file of names."""
        tables = {name: found.table for name, found in self.proposals(input_shape).items()}
        tensors = self.inspections(input_shape)[self.reference].tensors
        return files.dumps(self.reference, {t.name: t.shape for t in tensors}, tables)

    def network(self, input_shape: Shape, classes: int, objective: Objective) -> NativeNetwork:
        """Return the spec's network in canonical names.

        Raises:
            SpecError: a model's outputs are not those that the data needs, or the table of names
                is missing, incomplete or wrong; it lists every tensor that is not named.
        """
        key = (input_shape, classes, objective)
        if key not in self._networks:
            self._networks[key] = self._network(input_shape, classes, objective)
        return self._networks[key]

    def initial(self, network: NativeNetwork) -> dict[str, Array]:
        """Return the weights that ``drawn`` means, by canonical name.

        They are those of ``native.initial``, else the values that the reference's model was built
        with; where the reference is not among the backends, those of the first that is.

        Raises:
            WeightsError: the file cannot be read, or its tensors are others.
        """
        if self._initial is not None:
            given = weights.load(Path(self._initial))
            weights.check(given, weights.shapes(network), f"the weights in {self._initial}")
            return {name: given[name] for name in network.tensors}
        found = self.inspections(network.input_shape)
        first = self.reference if self.reference in found else next(iter(found))
        values = found[first].initial
        if first in network.tables:
            shapes = {name: tensor.shape for name, tensor in network.tensors.items()}
            values = to_canonical(network.tables[first], shapes, values)
        return {name: values[name] for name in network.tensors}

    def text(self, network: NativeNetwork) -> str:
        """Return the tables that ``network`` uses as the text of a file of names."""
        shapes = {name: tensor.shape for name, tensor in network.tensors.items()}
        return files.dumps(self.reference, shapes, network.tables)

    def _network(self, input_shape: Shape, classes: int, objective: Objective) -> NativeNetwork:
        found = self.inspections(input_shape)
        for name, inspection in found.items():
            if inspection.outputs != (classes,):
                raise SpecError(
                    f"native.{name} = {self._builders[name].target!r} returns "
                    f"{list(inspection.outputs)} for an example, but the data needs [{classes}]: "
                    "an output for each class (or number, for regression)"
                )
        if len(found) > 1:
            self._require_no_noise(found)
        if self.reference in found:
            canonical = found[self.reference].tensors
        else:
            canonical = self._derived(next(iter(found)), next(iter(found.values())))
        shapes = {tensor.name: tensor.shape for tensor in canonical}
        tables = {
            name: self._table(name, inspection, shapes, found)
            for name, inspection in found.items()
            if name != self.reference
        }
        return replace(
            build(canonical, input_shape, classes, objective),
            builders=self._builders,
            tables=tables,
            native={name: found[name].tensors for name in tables},
        )

    def _require_no_noise(self, found: Mapping[str, Inspection]) -> None:
        """Refuse to compare what draws from a generator that no other framework has."""
        for name, inspection in found.items():
            for module in inspection.modules:
                share = module.settings.get("p")
                if module.op == "dropout" and isinstance(share, float | int) and share > 0:
                    raise SpecError(
                        f"native: {name}'s {module.name} ({module.kind}) drops {share:g} of its "
                        "values, drawn by a generator of its framework's own, which no other "
                        "framework repeats; build the models without dropout to compare them"
                    )

    def _table(
        self,
        name: str,
        inspection: Inspection,
        shapes: Mapping[str, Shape],
        found: Mapping[str, Inspection],
    ) -> Table:
        reference = self.reference
        if self._names is not None:
            table, label = self._resolved(name, inspection), self._label
            missing = [tensor for tensor in shapes if tensor not in table]
            strange = [tensor for tensor in table if tensor not in shapes]
            if strange:
                raise SpecError(
                    f"{label}: {name} names what {reference} does not have: {listed(strange)}"
                )
        elif self._accept:
            proposal = propose(found[reference], inspection)
            table, label = dict(proposal.table), "the proposed table of names"
            missing = list(proposal.missing)
        else:
            raise SpecError(
                f"native: which tensor of {name}'s model is which of {reference}'s is not said. "
                + HOW.format(",".join(self._backends))
            )
        named = {part.name for parts in table.values() for part in parts}
        extra = [tensor.name for tensor in inspection.tensors if tensor.name not in named]
        if missing or extra:
            said = [f"of {reference} {len(missing)}: {listed(missing)}"] if missing else []
            said += [f"of {name} {len(extra)}: {listed(extra)}"] if extra else []
            raise SpecError(
                f"{label} leaves tensors without a partner; {'; '.join(said)}. Every tensor of one "
                "model is one of the other's: a port that lacks a bias or a layer lacks its tensors"
            )
        lines = problems(table, shapes)
        if lines:
            raise SpecError(f"{label}: {name}: {'; '.join(lines)}")
        return {tensor: table[tensor] for tensor in shapes}

    def _entries(self, name: str) -> Mapping[str, tuple[Entry, ...]]:
        assert self._names is not None
        if name not in self._names.tables:
            raise SpecError(
                f"{self._label}: no table for {name!r}; it has {listed([*self._names.tables])} "
                f"beside the reference {self.reference!r}"
            )
        return self._names.tables[name]

    def _resolved(self, name: str, inspection: Inspection) -> dict[str, tuple[Part, ...]]:
        """Return the file's table with the shapes of the model's tensors."""
        entries = self._entries(name)
        native = {tensor.name: tensor.shape for tensor in inspection.tensors}
        wanted = [entry.name for parts in entries.values() for entry in parts]
        strange = [entry for entry in wanted if entry not in native]
        if strange:
            raise SpecError(
                f"{self._label}: {name}'s model has no {listed(strange)}; its tensors: "
                f"{listed(list(native))}"
            )
        twice = sorted({entry for entry in wanted if wanted.count(entry) > 1})
        if twice:
            raise SpecError(f"{self._label}: {name}: named twice: {listed(twice)}")
        return {
            tensor: tuple(Part(e.name, native[e.name], e.axes, e.view) for e in parts)
            for tensor, parts in entries.items()
        }

    def _derived(self, name: str, inspection: Inspection) -> tuple[NativeTensor, ...]:
        """Return the canonical tensors as the table describes them, without the reference."""
        native = {tensor.name: tensor for tensor in inspection.tensors}
        found = []
        for tensor, parts in self._resolved(name, inspection).items():
            shape = files.follows(self._entries(name)[tensor], parts)
            if shape is None:
                raise SpecError(
                    f"{self._label}: {name}: {tensor}: its shape does not follow from the entry; "
                    "add 'shape', that of the reference"
                )
            module = tensor.rpartition("." if "." in tensor else "/")[0]
            found.append(
                replace(native[parts[0].name], name=tensor, shape=shape, module=module, layout="")
            )
        return tuple(found)
