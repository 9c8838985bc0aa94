"""``config.json`` → the ``[model]`` section of a spec that is the same network.

Every value that changes the arithmetic is looked at: it becomes a parameter, or it has to be what
paribus computes, or it is refused with its key. Dropout is left out, because it is a matter of the
training and of no result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from paribus.architectures import ARCHITECTURES, Objective
from paribus.architectures.resnet import DEPTHS
from paribus.checkpoints.fields import Fields
from paribus.errors import WeightsError

Model = dict[str, Any]

OFF: Mapping[bool, bool] = {False: False}
ON: Mapping[bool, bool] = {True: True}
GELU = {"gelu": "exact", "gelu_python": "exact", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
LONGEST = 65536

# What a published class has on top of the body, where it has anything.
OBJECTIVES: dict[str, Objective] = {
    "BertForMaskedLM": "masked_lm",
    "BertForPreTraining": "masked_lm",
    "BertForSequenceClassification": "classification",
    "GPT2LMHeadModel": "causal_lm",
    "GPT2ForSequenceClassification": "classification",
    "ViTForImageClassification": "classification",
    "ResNetForImageClassification": "classification",
}


def model_section(config: Fields, kind: str) -> Model:
    """Return ``architecture`` and its parameters.

    Args:
        config: the configuration.
        kind: its ``model_type``, a key of ``names.KINDS``.

    Raises:
        WeightsError: it is a network that paribus does not have; the message has the key.
    """
    return checked(_READERS[kind](config), config.file)


def checked(section: Model, file: Path) -> Model:
    """Return a ``[model]`` section that can be built.

    Raises:
        WeightsError: it cannot; ``file`` is where it comes from.
    """
    try:
        ARCHITECTURES[section["architecture"]].model_validate(section)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "its sizes"
        raise WeightsError(
            f"{file}: describes no {section['architecture']} that paribus can build: {where}: "
            f"{first['msg']}"
        ) from error
    return section


def objective(config: Fields) -> Objective | None:
    """Return what the checkpoint was trained for; None for a body without a head.

    Raises:
        WeightsError: to tell apart classes that do not exclude each other.
    """
    if "objective" in config:
        return config.only("objective", {name: name for name in get_args(Objective)}, None)
    named = config.texts("architectures")
    found = OBJECTIVES.get(named[0]) if named else None
    if found != "classification":
        return found
    kinds: dict[Any, Objective] = {
        None: "regression" if classes(config) == 1 else "classification",
        "single_label_classification": "classification",
        "regression": "regression",
    }
    return config.only("problem_type", kinds, None)


def classes(config: Fields) -> int:
    """Return the number of outputs of a head for classification or regression."""
    if "id2label" in config:
        return len(config.inner("id2label").values)
    return config.integer("num_labels", 2)


def class_names(config: Fields) -> tuple[str, ...]:
    """Return the names of the classes by number; none where they are only numbered.

    Raises:
        WeightsError: some classes have a name and others none.
    """
    labels = config.inner("id2label")
    count = len(labels.values)
    if set(labels.values) != {str(number) for number in range(count)}:
        raise config.wrong("id2label", "a name for each of the numbers 0, 1, 2, …")
    names = tuple(labels.text(str(number)) for number in range(count))
    made_up = all(name == f"LABEL_{number}" for number, name in enumerate(names))
    return () if made_up else names


def _bert(config: Fields) -> Model:
    config.only("position_embedding_type", {"absolute": "absolute"}, "absolute")
    config.only("type_vocab_size", {2: 2}, 2)
    for key in ("is_decoder", "add_cross_attention"):
        config.only(key, OFF, False)
    if config.inner("pruned_heads").values:
        raise config.wrong("pruned_heads", "none: every layer has all of its heads")
    return {
        "architecture": "bert",
        "vocabulary": config.integer("vocab_size"),
        "positions": config.integer("max_position_embeddings"),
        "layers": config.integer("num_hidden_layers"),
        "heads": config.integer("num_attention_heads"),
        "hidden": config.integer("hidden_size"),
        "intermediate": config.integer("intermediate_size"),
        "gelu": config.only("hidden_act", GELU, "gelu"),
        "eps": config.number("layer_norm_eps", 1e-12),
    }


def _gpt2(config: Fields) -> Model:
    config.only("scale_attn_weights", ON, True)
    for key in ("scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn",
                "add_cross_attention"):  # fmt: skip
        config.only(key, OFF, False)
    hidden = config.integer("n_embd")
    return {
        "architecture": "gpt2",
        "vocabulary": config.integer("vocab_size"),
        "positions": config.integer("n_positions"),
        "layers": config.integer("n_layer"),
        "heads": config.integer("n_head"),
        "hidden": hidden,
        "intermediate": config.integer("n_inner", 4 * hidden),
        "gelu": config.only("activation_function", GELU, "gelu_new"),
        "eps": config.number("layer_norm_epsilon", 1e-5),
    }


def _vit(config: Fields) -> Model:
    config.only("qkv_bias", ON, True)
    return {
        "architecture": "vit",
        "patch": config.integer("patch_size", 16),
        "layers": config.integer("num_hidden_layers"),
        "heads": config.integer("num_attention_heads"),
        "hidden": config.integer("hidden_size"),
        "mlp": config.integer("intermediate_size"),
        "gelu": config.only("hidden_act", GELU, "gelu"),
        "eps": config.number("layer_norm_eps", 1e-12),
    }


def _resnet(config: Fields) -> Model:
    for key in ("downsample_in_first_stage", "downsample_in_bottleneck"):
        config.only(key, OFF, False)
    config.only("hidden_act", {"relu": "relu"}, "relu")
    config.only("embedding_size", {64: 64}, 64)
    bottleneck = config.only("layer_type", {"basic": False, "bottleneck": True}, "bottleneck")
    depths = config.integers("depths")
    for name, known in DEPTHS.items():
        if known == (depths, bottleneck):
            widths = tuple(width * (4 if bottleneck else 1) for width in (64, 128, 256, 512))
            if config.integers("hidden_sizes") != widths:
                raise config.wrong("hidden_sizes", f"{list(widths)}, those of {name}")
            return {"architecture": name}
    published = "; ".join(f"{list(depths)} of {name}" for name, (depths, _) in DEPTHS.items())
    raise config.wrong("depths", f"those of a published ResNet with these layers: {published}")


def _paribus(config: Fields) -> Model:
    name = config.text("architecture")
    config.only("architecture", {known: known for known in ARCHITECTURES}, name)
    return {**config.inner("parameters").values, "architecture": name}


_READERS: dict[str, Callable[[Fields], Model]] = {
    "bert": _bert,
    "gpt2": _gpt2,
    "vit": _vit,
    "resnet": _resnet,
    "paribus": _paribus,
}


def input_shape(config: Fields, kind: str) -> tuple[int, ...]:
    """Return the shape of an input as far as the configuration says: (channels, height, width).

    A network that takes images of any size has its channels alone; one of texts nothing.
    """
    if kind == "paribus":
        return config.integers("input_shape", high=LONGEST)
    if kind not in ("vit", "resnet"):
        return ()
    channels = config.only("num_channels", {1: 1, 3: 3}, 3)
    if kind == "resnet":
        return (channels,)
    if not isinstance(config.values.get("image_size"), list):
        return (channels, *(config.integer("image_size", 224, high=LONGEST),) * 2)
    sides = config.integers("image_size", high=LONGEST)
    if len(sides) != 2:
        raise config.wrong("image_size", "a height and a width")
    return (channels, *sides)
