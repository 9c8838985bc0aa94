"""Networks as ``transformers.PreTrainedModel``: the published class, else one around the nodes.

An architecture that transformers does not have, or computes otherwise (its MobileNetV2 pads
differently), is wrapped; see ``wrapped``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import torch
import transformers
from torch import nn
from transformers import PreTrainedModel
from transformers.models.bert.modeling_bert import BertEmbeddings
from transformers.utils import logging

from paribus.architectures import Network
from paribus.architectures.parts import Part
from paribus.backends.huggingface import attention, images, parts, texts, wrapped
from paribus.backends.huggingface import belongings as with_belongings
from paribus.backends.torch.models import Model
from paribus.backends.torch.tokens import lend
from paribus.belongings import Belongings
from paribus.errors import Unsupported


def build(network: Network) -> Model:
    """Return transformers' own model where its arithmetic is the same, else a wrapped one."""
    kind: ModuleType = texts if network.reads_tokens else images
    with torch.device("meta"):
        module = kind.module(network)
        if module is None:
            kind, module = wrapped, wrapped.module(network)
        names = kind.names(network)
    _check_names(module, names)
    dropped, lent = kind.dropped(network), lend if kind is wrapped else attention.lend
    return Model(module, names, kind.outputs, _save, _prepare, dropped, lent)


def build_part(network: Network) -> Model | None:
    """Return a part of a network on transformers' modules; None where its nodes are the same."""
    return parts.build(network, _prepare) if isinstance(network, Part) else None


def _check_names(module: nn.Module, names: Mapping[str, tuple[str, ...]]) -> None:
    """Require that the tables fit the transformers that is installed; names change there."""
    state = module.state_dict()
    missing = [part for parts in names.values() for part in parts if part not in state]
    if missing:
        raise Unsupported(
            f"transformers {transformers.__version__} has no {missing[0]!r} in "
            f"{type(module).__name__}; paribus knows the names of transformers 5. "
            "Install it: pip install -U transformers"
        )


def _prepare(module: nn.Module) -> None:
    assert isinstance(module, PreTrainedModel)
    module.tie_weights()
    for part in module.modules():
        if isinstance(part, BertEmbeddings):
            part.position_ids.copy_(torch.arange(part.position_ids.shape[1]))
            part.token_type_ids.zero_()


def _save(module: nn.Module, folder: Path, belongings: Belongings) -> Path:
    assert isinstance(module, PreTrainedModel)
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with_belongings.save(module, folder, belongings)
        module.save_pretrained(folder)
    finally:
        if bars:
            logging.enable_progress_bar()
    return folder
