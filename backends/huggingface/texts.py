"""BERT and GPT-2 as transformers' own classes: canonical names are theirs, but for a prefix.

Where a language model predicts a few tokens of a text, its own parts are called: the body, and then
the head on those tokens alone, which is the same arithmetic without most of the products.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    PreTrainedModel,
)

from paribus.architectures import HEAD, LANGUAGE, Network
from paribus.backends.torch.texts import at_positions, last_token, numbers

GELU = {"exact": "gelu", "tanh": "gelu_new"}


def module(network: Network) -> PreTrainedModel | None:
    """Return transformers' model of a network of texts; None where it has none like it."""
    parameters = network.parameters
    if network.architecture == "gpt2":
        kind = GPT2LMHeadModel if network.objective in LANGUAGE else GPT2ForSequenceClassification
        return kind(_gpt2_config(network))
    if network.objective in LANGUAGE:
        found = BertForMaskedLM(_bert_config(network))
    elif parameters["pooling"] == "cls":
        found = BertForSequenceClassification(_bert_config(network))
    else:
        return None
    # Its padding token's vector would never learn; here it is a token like any other.
    found.bert.embeddings.word_embeddings.padding_idx = None
    return found


def names(network: Network) -> dict[str, tuple[str, ...]]:
    """Return the names in the model's state dict."""
    prefix = "transformer" if network.architecture == "gpt2" else "bert"
    return {
        name: (name if tensor.stage == HEAD else f"{prefix}.{name}",)
        for name, tensor in network.tensors.items()
    }


def dropped(network: Network) -> dict[str, str]:
    """Return which module each noisy node is: names have the prefix of tensors' names."""
    prefix = "transformer" if network.architecture == "gpt2" else "bert"
    return {
        name: name if network.node[name].stage == HEAD else f"{prefix}.{name}"
        for name in network.noisy
    }


def outputs(module: nn.Module, x: Tensor, positions: Tensor | None) -> Tensor:
    """Return outputs of token numbers; see ``paribus.backends.torch.models.Model.logits``."""
    model: Any = module
    known = numbers(x)
    ids = known.clamp_min(0)
    segments = {"token_type_ids": x[..., 1]} if x.ndim == 3 else {}
    found: Tensor
    if isinstance(module, BertForSequenceClassification):
        found = model(ids, attention_mask=(known >= 0).long(), **segments).logits
        return found
    if isinstance(module, BertForMaskedLM):
        hidden = model.bert(ids, attention_mask=(known >= 0).long(), **segments).last_hidden_state
        found = model.cls(hidden if positions is None else at_positions(hidden, positions))
        return found
    hidden = model.transformer(ids, use_cache=False).last_hidden_state
    if isinstance(module, GPT2LMHeadModel):
        found = model.lm_head(hidden if positions is None else at_positions(hidden, positions))
    else:
        found = model.score(last_token(hidden, x))
    return found


def _labels(network: Network) -> dict[str, Any]:
    if network.objective in LANGUAGE:
        return {}
    kind = "regression" if network.objective == "regression" else "single_label_classification"
    return {"num_labels": network.classes, "problem_type": kind}


def _bert_config(network: Network) -> BertConfig:
    size, dropout = network.parameters, network.parameters["dropout"]
    return BertConfig(
        vocab_size=size["vocabulary"],
        hidden_size=size["hidden"],
        num_hidden_layers=size["layers"],
        num_attention_heads=size["heads"],
        intermediate_size=size["intermediate"],
        hidden_act=GELU[size["gelu"]],
        max_position_embeddings=size["positions"],
        layer_norm_eps=size["eps"],
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=size["attention_dropout"],
        **_labels(network),
    )


def _gpt2_config(network: Network) -> GPT2Config:
    size, dropout = network.parameters, network.parameters["dropout"]
    return GPT2Config(
        vocab_size=size["vocabulary"],
        n_positions=size["positions"],
        n_embd=size["hidden"],
        n_layer=size["layers"],
        n_head=size["heads"],
        n_inner=size["intermediate"],
        activation_function=GELU[size["gelu"]],
        layer_norm_epsilon=size["eps"],
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=size["attention_dropout"],
        # The published ones are the last of its vocabulary, which another vocabulary has not.
        bos_token_id=None,
        eos_token_id=None,
        **_labels(network),
    )
