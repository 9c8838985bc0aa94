"""Sessions that stay open: whose weights they hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cases
from labs import Lab

from paribus.adapter import Array, Task
from paribus.machine import Machine

NOTHING = Task("sgd", ())


def test_weights_that_a_session_has_are_not_imported_again(labs: dict[str, Lab]) -> None:
    network = cases.MLP
    machine = Machine(labs["torch"].backend, "cpu", "float64", "strict")
    first, second = cases.tensors(network, 1), cases.tensors(network, 2)
    imported: list[Mapping[str, Array]] = []
    session = machine.session(network, NOTHING)
    into = session.import_weights

    def counted(tensors: Mapping[str, Array]) -> None:
        imported.append(tensors)
        into(tensors)

    session.import_weights = counted  # type: ignore[method-assign]

    def holds(tensors: Mapping[str, Any]) -> bool:
        found = machine.loaded(network, NOTHING, tensors).export_weights()
        return all(found[name].tobytes() == array.tobytes() for name, array in tensors.items())

    try:
        assert holds(first)
        assert holds(first)
        assert len(imported) == 1
        assert holds(second)
        assert holds(dict(second))
        assert len(imported) == 2
        # Equal arrays may be written to: only the same ones are known.
        assert holds({name: array.copy() for name, array in second.items()})
        assert len(imported) == 3
        # Whoever takes the session in another way may have imported anything.
        machine.session(network, NOTHING).import_weights(first)
        assert holds(second)
        assert len(imported) == 5
    finally:
        machine.close()
