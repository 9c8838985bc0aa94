"""Write small checkpoints as transformers publishes them, with its own outputs.

    python published.py FOLDER

Each ``FOLDER/NAME`` is what ``save_pretrained`` leaves, with ``inputs.npy`` (token numbers, −1 past
a text's end; or images [n, C, H, W]) and ``outputs.npy`` beside it: the logits in float64. The
folders called ``NAME as …`` hold the same tensors otherwise: in pieces, as a pickle, under older
names.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from photographs import CAT
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    AutoImageProcessor,
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertForSequenceClassification,
    CLIPImageProcessor,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

TOKENS, LENGTH, TEXTS = 40, 9, 5
BERT = {
    "vocab_size": TOKENS, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 12, "max_position_embeddings": 12,
}  # fmt: skip
GPT2 = {
    "vocab_size": TOKENS, "n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 12,
    "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None,
}  # fmt: skip
VIT = {
    "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12,
    "image_size": 32, "patch_size": 16,
}  # fmt: skip
RESNET = {
    "embedding_size": 64, "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2],
    "layer_type": "basic",
}  # fmt: skip
NAMES = {0: "cat", 1: "coffee", 2: "palace"}


def _lived_in(model: PreTrainedModel) -> PreTrainedModel:
    """Leave no tensor at the constant that it is born with."""
    generator = torch.Generator().manual_seed(3)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            drawn = torch.randn(tensor.shape, generator=generator)
            drawn *= 0.3 if tensor.ndim < 2 else tensor[0].numel() ** -0.5
            norm = tensor.ndim == 1 and name.endswith("weight")
            tensor.copy_(drawn.abs() + 0.5 if name.endswith("running_var") or norm else drawn)
    model.tie_weights()
    return model.eval()


def _texts() -> Any:
    numbers = np.random.default_rng(0).integers(1, TOKENS, (TEXTS, LENGTH), dtype=np.int32)
    numbers[np.arange(LENGTH) >= np.array([9, 3, 7, 1, 5])[:, None]] = -1
    return numbers


def _save(model: PreTrainedModel, folder: Path, inputs: Any) -> None:
    """Save a model, what it was given, and what it answers in float64."""
    model.save_pretrained(folder)
    np.save(folder / "inputs.npy", inputs)
    exact = model.double()
    with torch.no_grad():
        if inputs.ndim == 4:
            outputs = exact(torch.from_numpy(inputs).double()).logits
        else:
            known = torch.from_numpy(inputs).long()
            mask = (known >= 0).long()
            outputs = exact(input_ids=known.clamp_min(0), attention_mask=mask).logits
    np.save(folder / "outputs.npy", outputs.numpy())


def _again(folder: Path, how: str, state: Mapping[str, Any], *, pickled: bool = False) -> None:
    """Write a folder with the same configuration and other files of tensors."""
    other = folder.parent / f"{folder.name} as {how}"
    other.mkdir()
    (other / "config.json").write_bytes((folder / "config.json").read_bytes())
    if pickled:
        torch.save(dict(state), other / "pytorch_model.bin")
    else:
        save_file({name: tensor.contiguous() for name, tensor in state.items()},
                  other / "model.safetensors", metadata={"format": "pt"})  # fmt: skip


def _texts_of(root: Path) -> None:
    texts = _texts()
    numbers = BertConfig(**BERT, num_labels=2, problem_type="regression")
    for name, model in (
        ("bert", BertForSequenceClassification(BertConfig(**BERT, num_labels=3))),
        ("regression", BertForSequenceClassification(numbers)),
        ("masked", BertForMaskedLM(BertConfig(**BERT, hidden_act="gelu_new"))),
        ("gpt2", GPT2ForSequenceClassification(GPT2Config(**GPT2, num_labels=3))),
        ("causal", GPT2LMHeadModel(GPT2Config(**GPT2))),
    ):
        _save(_lived_in(model), root / name, texts)
    # A new model of the same draws: what was saved is in float64 now.
    again = _lived_in(BertForMaskedLM(BertConfig(**BERT, hidden_act="gelu_new")))
    again.save_pretrained(root / "masked as shards", max_shard_size="1KB")
    again.bfloat16().save_pretrained(root / "masked as bfloat16")
    state = load_file(root / "masked" / "model.safetensors")
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
        "LayerNorm.bias", "LayerNorm.beta"): tensor for name, tensor in state.items()}  # fmt: skip
    head = BertForPreTraining(BertConfig(**BERT)).state_dict()
    old["bert.embeddings.position_ids"] = torch.arange(12)[None]
    old["cls.predictions.decoder.weight"] = state["bert.embeddings.word_embeddings.weight"].clone()
    old["cls.predictions.decoder.bias"] = state["cls.predictions.bias"].clone()
    old |= {name: head[name] for name in head if name.startswith("cls.seq_relationship")}
    _again(root / "masked", "old names", old)
    state = load_file(root / "causal" / "model.safetensors")
    mask = torch.ones(12, 12, dtype=torch.bool).tril()[None, None]
    buffers = {f"transformer.h.{n}.attn.bias": mask for n in range(2)}
    buffers |= {f"transformer.h.{n}.attn.masked_bias": torch.tensor(-1e4) for n in range(2)}
    tied = {"lm_head.weight": state["transformer.wte.weight"]}
    _again(root / "causal", "a pickle", state | buffers | tied, pickled=True)


def _images_of(root: Path) -> None:
    pixels = np.random.default_rng(1).normal(size=(3, 3, 32, 32)).astype(np.float32)
    labels = {"id2label": NAMES, "label2id": {name: number for number, name in NAMES.items()}}
    vit = _lived_in(ViTForImageClassification(ViTConfig(**VIT, **labels)))
    # As the module has them, which is not as transformers writes them.
    names = dict(vit.state_dict())
    _save(vit, root / "vit", pixels)
    _again(root / "vit", "module names", {n: t.float() for n, t in names.items()})
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(root / "vit")
    _save(_lived_in(ResNetForImageClassification(ResNetConfig(**RESNET, num_labels=3))),
          root / "resnet", pixels)  # fmt: skip
    CLIPImageProcessor(
        size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(root / "resnet")
    # What transformers' users get for a photograph, in float32.
    for name, kind in (
        ("vit", ViTForImageClassification),
        ("resnet", ResNetForImageClassification),
    ):
        model = kind.from_pretrained(root / name).eval()
        processor = AutoImageProcessor.from_pretrained(root / name, backend="pil")
        given = processor(Image.open(CAT).convert("RGB"), return_tensors="pt")
        with torch.no_grad():
            guessed = model(**given).logits.double().softmax(1)[0]
        (root / name / "cat.json").write_text(json.dumps(guessed.tolist()))


if __name__ == "__main__":
    with torch.no_grad():
        _texts_of(Path(sys.argv[1]))
        _images_of(Path(sys.argv[1]))
