"""Models of the user's own as JSON values and arrays, and back.

They cross from a parent, which read the user's spec, to its own child; nothing that is read from a
run folder or a checkpoint is ever decoded here.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from paribus.native.builder import Builder
from paribus.native.inspection import Inspection, NativeModule, NativeTensor
from paribus.native.layout import Part, Table
from paribus.native.network import NativeNetwork, build

Values = dict[str, Any]


def from_native(network: NativeNetwork) -> Values:
    """Return what rebuilds a network of the user's own models."""
    return {
        "input_shape": network.input_shape,
        "classes": network.classes,
        "objective": network.objective,
        "tensors": [_canonical(network, name) for name in network.tensors],
        "builders": {name: asdict(builder) for name, builder in network.builders.items()},
        "tables": {
            backend: {name: [asdict(part) for part in parts] for name, parts in table.items()}
            for backend, table in network.tables.items()
        },
        "native": {
            backend: [asdict(tensor) for tensor in tensors]
            for backend, tensors in network.native.items()
        },
    }


def to_native(values: Values) -> NativeNetwork:
    """Rebuild a network."""
    network = build(
        tuple(_tensor(tensor) for tensor in values["tensors"]),
        tuple(values["input_shape"]),
        values["classes"],
        values["objective"],
    )
    return replace(
        network,
        builders={name: Builder(**builder) for name, builder in values["builders"].items()},
        tables={backend: _table(table) for backend, table in values["tables"].items()},
        native={
            backend: tuple(_tensor(tensor) for tensor in tensors)
            for backend, tensors in values["native"].items()
        },
    )


def from_inspection(inspection: Inspection) -> Values:
    """Return an inspection's fields."""
    return {
        "tensors": [asdict(tensor) for tensor in inspection.tensors],
        "modules": [asdict(module) for module in inspection.modules],
        "outputs": inspection.outputs,
        "initial": dict(inspection.initial),
    }


def to_inspection(values: Values) -> Inspection:
    """Rebuild an inspection."""
    return Inspection(
        tuple(_tensor(tensor) for tensor in values["tensors"]),
        tuple(NativeModule(**module) for module in values["modules"]),
        tuple(values["outputs"]),
        values["initial"],
    )


def _canonical(network: NativeNetwork, name: str) -> Values:
    """Return a canonical tensor with the fields of ``NativeTensor``."""
    tensor = network.tensors[name]
    module = "" if tensor.node == name else tensor.node
    return asdict(NativeTensor(name, tensor.shape, tensor.kind, tensor.role, module, ""))


def _tensor(values: Values) -> NativeTensor:
    return NativeTensor(**{**values, "shape": tuple(values["shape"])})


def _table(values: Values) -> Table:
    return {name: tuple(_part(part) for part in parts) for name, parts in values.items()}


def _part(values: Values) -> Part:
    lists = {
        key: None if values[key] is None else tuple(values[key])
        for key in ("shape", "axes", "view")
    }
    return Part(**{**values, **lists})
