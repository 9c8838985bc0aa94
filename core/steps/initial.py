"""Where a training starts: drawn tensors, a pretrained body, or weights from a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from paribus import weights
from paribus.adapter import Array
from paribus.architectures import HEAD, Network
from paribus.checkpoints.heads import without_other_heads
from paribus.errors import WeightsError
from paribus.spec.sections import Spec


def initial_weights(
    spec: Spec, step: str, network: Network, body: Mapping[str, Array] | None
) -> dict[str, Array]:
    """Return the tensors that a step's training starts from, by the recipe's ``weights``.

    Args:
        spec: the spec of the training.
        step: ``pretrain`` or ``finetune``.
        network: what is trained.
        body: the pretrained tensors that ``finetune.weights = "auto"`` means; None where none are.

    Raises:
        WeightsError: a given body or head does not fit the network.
    """
    if step == "pretrain":
        if spec.pretrain.weights == "drawn":
            return weights.draw(network, spec.seed)
        return _given(Path(spec.pretrain.weights), network, keep_head=True, seed=spec.seed)
    source, keep_head = spec.finetune.weights, spec.finetune.head == "keep"
    if source == "drawn" or (source == "auto" and body is None):
        return weights.draw(network, spec.seed)
    if source == "auto" and body is not None:
        return _onto(network, body, "the pretrained weights", keep_head, spec.seed)
    return _given(Path(source), network, keep_head=keep_head, seed=spec.seed)


def _given(path: Path, network: Network, *, keep_head: bool, seed: int) -> dict[str, Array]:
    return _onto(network, weights.load(path), f"the weights in {path}", keep_head, seed)


def _onto(
    network: Network, given: Mapping[str, Array], what: str, keep_head: bool, seed: int
) -> dict[str, Array]:
    """Take ``given`` for the body, and for the head too or draw it anew."""
    given = without_other_heads(network, given)
    head = [name for name, tensor in network.tensors.items() if tensor.stage == HEAD]
    wanted = {
        name: shape
        for name, shape in weights.shapes(network).items()
        if keep_head or name not in head
    }
    offered = {name: a for name, a in given.items() if keep_head or name not in head}
    try:
        weights.check(offered, wanted, what)
    except WeightsError as error:
        hint = (
            " A head that is kept needs the same number of classes; with finetune.head = "
            "'new' only the body is taken."
            if keep_head
            else ""
        )
        raise WeightsError(
            f"{error}. The network is {network.architecture} {json.dumps(network.parameters)} "
            f"for inputs of shape {network.input_shape}.{hint}"
        ) from error
    drawn = {} if keep_head else weights.draw(network, seed, only=head)
    return {name: drawn[name] if name in drawn else offered[name] for name in network.tensors}
