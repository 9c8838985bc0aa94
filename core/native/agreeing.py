"""Before models of the user's own are compared: the same names and the same first weights for all.

Each backend builds its model in a process of its own; what they agree on is written beside the
runs, as a table of names and a file of weights, and the spec that they run names both. A user who
looks into the folder finds the table that was used.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from paribus import weights
from paribus.errors import RunFolderError, SpecError
from paribus.native.natives import Natives
from paribus.native.network import NativeNetwork
from paribus.remote import RemoteBackend
from paribus.spec.sections import Spec
from paribus.steps.examples import Examples, step_data

NAMES, INITIAL = "names.json", "initial.safetensors"


def agreed(spec: Spec, backends: Sequence[str], folder: Path, *, accept: bool) -> Spec:
    """Return the spec with ``native.names`` and ``native.initial`` given.

    Args:
        spec: with a ``[native]`` section.
        backends: that will run it.
        folder: where the two files are written.
        accept: whether a proposed table of names is good enough.

    Raises:
        SpecError: a builder, a model or the table of names; see ``Natives``.
        RunFolderError: the folder cannot be written.
    """
    assert spec.native is not None
    with ExitStack() as stack:
        remote = [stack.enter_context(RemoteBackend(name)) for name in backends]
        natives = Natives(spec.native, remote, spec.seed, accept=accept)
        examples = Examples(spec, natives)
        # Every step's network has the same tensors: the models are built without arguments.
        step = "pretrain" if "pretrain" in spec.steps else "finetune"
        network = examples.network(spec, step)
        assert isinstance(network, NativeNetwork)
        tensors = natives.initial(network)
        text = natives.text(network)
    names, initial = folder.absolute() / NAMES, folder.absolute() / INITIAL
    try:
        names.write_text(text, encoding="utf-8")
        weights.save(initial, tensors, {})
    except OSError as error:
        raise RunFolderError(
            f"{folder} cannot be written: {error}; choose another place with --out"
        ) from error
    given = {"names": str(names), "initial": str(initial)}
    return spec.model_copy(update={"native": spec.native.model_copy(update=given)})


def proposal(spec: Spec, backends: Sequence[str]) -> tuple[str, list[str]]:
    """Return a proposed table of names as JSON text, and what to look at in it.

    Raises:
        SpecError: the spec has no ``[native]`` section, or a builder or a model fails.
    """
    if spec.native is None:
        raise SpecError("names are proposed for models of your own; the spec has no [native]")
    with ExitStack() as stack:
        remote = [stack.enter_context(RemoteBackend(name)) for name in backends]
        section = spec.native.model_copy(update={"names": None})
        natives = Natives(section, remote, spec.seed)
        view = step_data(spec, "finetune")
        shape = Examples(spec, natives).dataset(view).input_shape(view.section.transform)
        text, notes = natives.proposed(shape), []
        for name, found in natives.proposals(shape).items():
            notes += [f"{name}: {line}" for line in found.unsure]
            for who, lacking in ((natives.reference, found.missing), (name, found.extra)):
                notes += [f"{tensor} of {who} has no partner" for tensor in lacking]
    return text, notes
