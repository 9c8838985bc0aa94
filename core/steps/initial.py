"""Where a training starts: drawn tensors, a pretrained body, or weights from a file.

A body is taken whole or not at all: every tensor below the head has to be there in its shape. A
head belongs to a task. It is drawn anew for a new one, and what the given weights have for theirs
is left behind; where a head was to be kept but has other outputs, it is drawn, too, and said.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from paribus import weights
from paribus.adapter import Array
from paribus.architectures import HEAD, Network
from paribus.checkpoints.heads import without_other_heads
from paribus.errors import SpecError, WeightsError
from paribus.native.natives import Natives
from paribus.native.network import NativeNetwork
from paribus.spec.sections import Spec

# Between body and head; a checkpoint made for another objective may lack it.
POOLER = "pooler"


@dataclass(frozen=True)
class Initial:
    """The tensors that a training starts from, and where they come from, in words."""

    tensors: dict[str, Array]
    origin: str


def initial_weights(
    spec: Spec,
    step: str,
    network: Network,
    body: Mapping[str, Array] | None,
    natives: Natives | None = None,
    known: dict[str, dict[str, Array]] | None = None,
) -> Initial:
    """Return what a step's training starts from, by the recipe's ``weights``.

    Args:
        spec: the spec of the training.
        step: ``pretrain`` or ``finetune``.
        network: what is trained.
        body: the pretrained tensors that ``finetune.weights = "auto"`` means; None where none are.
        natives: the spec's own models, where it has some: what they are built with is what others
            call drawn, and a body is taken whole, its head with it.
        known: tensors that were read or drawn before, by where they come from; it is added to.
            They are shared between trainings and must not be written to.

    Raises:
        WeightsError: a given body or head does not fit the network.
        SpecError: the checkpoint is meant, but the spec names none.
    """
    source = spec.recipe(step).weights
    if isinstance(network, NativeNetwork):
        return _native(network, source, body, natives)
    keep_head = step == "pretrain" or spec.finetune.head == "keep"
    if source == "auto" and body is not None:
        return _onto(network, body, "the pretrained weights", keep_head, spec.seed)
    if source == "auto":
        source = "drawn" if spec.checkpoint is None else "checkpoint"
    if source == "drawn":
        place = repr((network.architecture, network.parameters, network.input_shape,
                      network.classes, network.objective, spec.seed))  # fmt: skip
        return Initial(_once(known, place, lambda: weights.draw(network, spec.seed)), "drawn")
    if source == "checkpoint":
        if spec.checkpoint is None:
            raise SpecError(
                f"{step}.weights = 'checkpoint', but the spec names no checkpoint; set checkpoint, "
                "or give the path of the weights"
            )
        source = spec.checkpoint
    given = _once(known, source, lambda: weights.load(Path(source)))
    return _onto(network, given, f"the weights in {source}", keep_head, spec.seed)


def _once(
    known: dict[str, dict[str, Array]] | None, place: str, make: Callable[[], dict[str, Array]]
) -> dict[str, Array]:
    if known is None:
        return make()
    if place not in known:
        known[place] = make()
        for array in known[place].values():
            array.setflags(write=False)
    return known[place]


def _native(
    network: NativeNetwork, source: str, body: Mapping[str, Array] | None, natives: Natives | None
) -> Initial:
    if source == "auto" and body is not None:
        given, said = dict(body), "the pretrained weights"
    elif source in ("auto", "drawn"):
        if natives is None:
            raise SpecError("a model of your own is built by a backend; none is at hand")
        return Initial(natives.initial(network), "drawn")
    else:
        given, said = weights.load(Path(source)), f"the weights in {source}"
    weights.check(given, weights.shapes(network), said)
    return Initial({name: given[name] for name in network.tensors}, said)


def _onto(
    network: Network, given: Mapping[str, Array], what: str, keep_head: bool, seed: int
) -> Initial:
    """Take ``given`` for the body, and for the head too or draw it anew."""
    given, shapes = without_other_heads(network, given), weights.shapes(network)
    head = [name for name, tensor in network.tensors.items() if tensor.stage == HEAD]
    fresh: list[str] = []
    if not keep_head:
        fresh, said = head, "a new head"
    elif head and not any(name in given for name in head):
        fresh, said = head, f"a new head, since it has none for {network.objective}"
    elif _other_outputs(network, head, given):
        fresh, said = head, f"a new head of {network.classes} outputs, since its own has others"
    else:
        said = "with its head"
    said = f"{what}, {said}"
    pooler = [name for name, tensor in network.tensors.items() if tensor.stage == POOLER]
    if pooler and not any(name in given for name in pooler):
        fresh, said = [*fresh, *pooler], f"{said}, and a new pooler, since it has none"
    wanted = {name: shape for name, shape in shapes.items() if name not in fresh}
    offered = {name: array for name, array in given.items() if name not in fresh}
    try:
        weights.check(offered, wanted, what)
    except WeightsError as error:
        raise WeightsError(
            f"{error}. The network is {network.architecture} {json.dumps(network.parameters)} "
            f"for inputs of shape {network.input_shape}"
        ) from error
    drawn = weights.draw(network, seed, only=fresh)
    tensors = {name: drawn[name] if name in drawn else offered[name] for name in network.tensors}
    return Initial(tensors, said)


def _other_outputs(network: Network, head: list[str], given: Mapping[str, Array]) -> bool:
    """Whether a head differs in the number of its outputs, and in nothing else."""
    outputs = network.nodes[-1].name
    last = [name for name in head if network.tensors[name].node == outputs and name in given]
    shapes = weights.shapes(network)
    return any(given[name].shape != shapes[name] for name in last) and all(
        given[name].shape[1:] == shapes[name][1:] for name in last
    )
