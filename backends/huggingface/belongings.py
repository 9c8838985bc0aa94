"""What goes with a model, in the files that transformers' own ``Auto…`` classes read.

A tokenizer is saved as the tokens' own library writes it and opened through the class that adds
nothing to it, so that a text has the same numbers there. Pictures go through CLIP's image
processor, the plainest of those that resize the shorter side or both, cut out the centre, rescale
and normalise. What transformers has no file for (grey pictures) core writes beside.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from paribus.belongings import Belongings, ImageProcessing

# Pillow's numbers, which transformers' files have.
RESAMPLING = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}
# What a special token is for, by how tokenizers write it.
ROLES = {
    "pad_token": ("[PAD]", "<pad>", "<|pad|>"),
    "unk_token": ("[UNK]", "<unk>"),
    "cls_token": ("[CLS]",),
    "sep_token": ("[SEP]",),
    "mask_token": ("[MASK]", "<mask>"),
    "bos_token": ("<s>", "<bos>", "<|begin_of_text|>", "<|endoftext|>"),
    "eos_token": ("</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>"),
}
CONFIGURED = ("pad_token", "bos_token", "eos_token")


def save(model: PreTrainedModel, folder: Path, belongings: Belongings) -> None:
    """Put what belongs to ``model`` into its configuration and into ``folder``."""
    if belongings.class_names:
        model.config.id2label = dict(enumerate(belongings.class_names))
        model.config.label2id = {name: n for n, name in enumerate(belongings.class_names)}
    if belongings.tokenizer is not None:
        _tokenizer(model, folder, belongings.tokenizer, belongings.length)
    if belongings.image is not None and len(belongings.image.mean) == 3:
        _image_processor(belongings.image).save_pretrained(folder)


def _tokenizer(model: PreTrainedModel, folder: Path, text: str, length: int | None) -> None:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    tokens = Tokenizer.from_str(text)
    roles = _roles(tokens, json.loads(text))
    # GPT-2 would add the vectors of the segments' numbers, taken for tokens.
    inputs = ["input_ids", "attention_mask"]
    if model.config.model_type != "gpt2":
        inputs.insert(1, "token_type_ids")
    options: dict[str, Any] = {} if length is None else {"model_max_length": length}
    PreTrainedTokenizerFast(
        tokenizer_object=tokens, model_input_names=inputs, **roles, **options
    ).save_pretrained(folder)
    for role in CONFIGURED:
        number = None if role not in roles else tokens.token_to_id(roles[role])
        for config in (model.config, getattr(model, "generation_config", None)):
            if config is not None:
                setattr(config, f"{role}_id", number)


def _roles(tokens: Any, described: dict[str, Any]) -> dict[str, str]:
    """Return the special tokens that a tokenizer has, by what they are for."""
    special = {str(token["content"]) for token in described.get("added_tokens", ())
               if token.get("special")}  # fmt: skip
    found = {
        role: next(text for text in texts if text in special)
        for role, texts in ROLES.items()
        if special & set(texts)
    }
    padding = described.get("padding") or {}
    if tokens.token_to_id(str(padding.get("pad_token"))) is not None:
        found["pad_token"] = str(padding["pad_token"])
    if "pad_token" not in found and "eos_token" in found:
        # As GPT-2's users do it: its tokenizer has no token for padding.
        found["pad_token"] = found["eos_token"]
    return found


def _image_processor(image: ImageProcessing) -> Any:
    from transformers import CLIPImageProcessor

    if isinstance(image.resize, int):
        size = {"shortest_edge": image.resize}
    else:
        size = {"height": image.resize[0], "width": image.resize[1]}
    return CLIPImageProcessor(
        do_resize=True,
        size=size,
        resample=RESAMPLING[image.interpolation],
        do_center_crop=image.resize != image.crop,
        crop_size={"height": image.crop[0], "width": image.crop[1]},
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=list(image.mean),
        image_std=list(image.std),
        do_convert_rgb=True,
    )
