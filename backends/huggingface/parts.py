"""Parts of networks on transformers' modules, where the nodes would round differently.

Its vision transformers keep queries, keys and values apart, and its GPT-2 adds the bias within the
product. A body has to give the bits that the whole model gives, and the rest to train to the bits
that it trains to; so of these models a part is the whole module, of which only a part is called.
What is not called has no values and takes no memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from paribus.architectures.parts import Part
from paribus.backends.huggingface import attention, images, texts
from paribus.backends.torch.models import Model, save_state_dict
from paribus.backends.torch.texts import last_token, numbers

Outputs = Callable[[nn.Module, Tensor, Tensor | None], Tensor]

_LAYER_END = re.compile(r"encoder\.layers\.encoder_layer_(\d+)\.add_2")


def build(part: Part, prepare: Callable[[nn.Module], None]) -> Model | None:
    """Return a model of a part; None where executing its nodes is the same.

    Args:
        part: of a network.
        prepare: see ``Model``.
    """
    kind: ModuleType = texts if part.whole.reads_tokens else images
    outputs = _outputs(part)
    if outputs is None:
        return None
    with torch.device("meta"):
        module = kind.module(part.whole)
    if module is None:
        return None
    names = {n: places for n, places in kind.names(part.whole).items() if n in part.tensors}
    dropped = {n: place for n, place in kind.dropped(part.whole).items() if n in part.node}
    return Model(module, names, outputs, save_state_dict, prepare, dropped, attention.lend)


def _outputs(part: Part) -> Outputs | None:
    body = part.side == "body"
    if part.architecture.startswith("vit"):
        if part.boundary == "first":
            return _first_token if body else None
        layers = _layers_below(part.boundary)
        if layers is None:
            return None
        return partial(_vit_body if body else _vit_tail, layers)
    if part.architecture == "gpt2" and body and part.boundary == "last":
        return _last_token
    return None


def _layers_below(boundary: str) -> int | None:
    """Return how many of a vision transformer's layers are below a boundary; None within one."""
    if boundary == "encoder":
        return 0
    found = _LAYER_END.fullmatch(boundary)
    return None if found is None else int(found[1]) + 1


def _first_token(module: nn.Module, x: Tensor, positions: Tensor | None) -> Tensor:
    model: Any = module
    found: Tensor = model.vit(x).last_hidden_state[:, 0, :]
    return found


def _vit_body(layers: int, module: nn.Module, x: Tensor, positions: Tensor | None) -> Tensor:
    model: Any = module
    hidden: Tensor = model.vit.embeddings(x)
    for layer in model.vit.layers[:layers]:
        hidden = layer(hidden, None)
    return hidden


def _vit_tail(layers: int, module: nn.Module, x: Tensor, positions: Tensor | None) -> Tensor:
    model: Any = module
    hidden = x.flatten(2).transpose(1, 2).contiguous()
    if layers == 0:
        hidden = model.vit.embeddings.dropout(hidden)
    for layer in model.vit.layers[layers:]:
        hidden = layer(hidden, None)
    found: Tensor = model.classifier(model.vit.layernorm(hidden)[:, 0, :])
    return found


def _last_token(module: nn.Module, x: Tensor, positions: Tensor | None) -> Tensor:
    model: Any = module
    hidden = model.transformer(numbers(x).clamp_min(0), use_cache=False).last_hidden_state
    return last_token(hidden, x)
