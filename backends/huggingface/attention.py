"""Attention that drops shares by the plan's keys, inside of transformers' own models.

Their attention modules look a function up by the name in their configuration. A session gives them
the name of the function below and takes it back before anybody else gets the model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from paribus.backends.torch.noise import Attention

NAME = "paribus"
_LENT: WeakKeyDictionary[nn.Module, Attention] = WeakKeyDictionary()


def lend(module: nn.Module, attention: Attention) -> Callable[[], None]:
    """Make an attention module compute with ``attention``; see ``paribus.backends.torch.noise``."""
    config: Any = module.config
    before = config._attn_implementation
    _LENT[module] = attention
    config._attn_implementation = NAME

    def take_back() -> None:
        del _LENT[module]
        config._attn_implementation = before

    return take_back


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Return the attended values [b, T, heads, d], with the signature of transformers' own.

    Without a mask a causal model means every token that is not later.
    """
    causal = attention_mask is None and bool(getattr(module, "is_causal", False))
    found = _LENT[module](query, key, value, attention_mask, causal)
    return found.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
