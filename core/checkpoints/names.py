"""Tables from published names to canonical ones, one per ``model_type`` of a config.json.

A table is closed: a tensor that no line of it knows is an error that lists it, and what is left out
is named. A tied weight that a file has twice is left out only if it is the same to the bit; a file
whose two are different is another model.

transformers renames its modules from time to time and goes on writing the earlier names, so each
table knows both where they differ. ``gamma`` and ``beta`` are BERT's own names of a LayerNorm's
weight and bias, from its first published files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

LEAVES = {"gamma": "weight", "beta": "bias"}


class Rule(NamedTuple):
    """A pattern of published names, and the canonical name that its groups make.

    ``part`` of ``parts``: the published tensor is this piece of the canonical one, which is cut
    along its first axis.
    """

    published: str
    canonical: str
    part: int = 0
    parts: int = 1


@dataclass(frozen=True)
class Names:
    """How a kind of model is published.

    Attributes:
        classes: of the published models that are the same network; what each has as its head.
        rules: patterns of names; the first that fits counts.
        aliases: names under which a file may have a tensor again, and its canonical name.
        dropped: patterns of names of what is no parameter of the network.
    """

    classes: tuple[str, ...]
    rules: tuple[Rule, ...]
    aliases: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()


_PARAMETER = r"(?P<leaf>weight|bias)"
_NORM = r"(?P<leaf>weight|bias|gamma|beta)"
_INSIDE = r"encoder\.layer\.\d{1,4}\."

BERT = Names(
    classes=("BertModel", "BertForMaskedLM", "BertForPreTraining", "BertForSequenceClassification"),
    rules=(
        Rule(
            r"(?:bert\.)?(?P<table>embeddings\.(?:word|position|token_type)_embeddings)\.weight",
            "{table}.weight",
        ),
        Rule(
            r"(?:bert\.)?(?P<norm>embeddings\.LayerNorm|"
            + _INSIDE + r"(?:attention\.)?output\.LayerNorm)\." + _NORM,
            "{norm}.{leaf}",
        ),
        Rule(
            r"(?:bert\.)?(?P<product>pooler\.dense|"
            + _INSIDE + r"(?:attention\.self\.(?:query|key|value)|"
            r"(?:attention\.output|intermediate|output)\.dense))\." + _PARAMETER,
            "{product}.{leaf}",
        ),
        Rule(r"cls\.predictions\.bias", "cls.predictions.bias"),
        Rule(
            r"cls\.predictions\.transform\.dense\." + _PARAMETER,
            "cls.predictions.transform.dense.{leaf}",
        ),
        Rule(
            r"cls\.predictions\.transform\.LayerNorm\." + _NORM,
            "cls.predictions.transform.LayerNorm.{leaf}",
        ),
        Rule(r"classifier\." + _PARAMETER, "classifier.{leaf}"),
    ),
    aliases=(
        ("cls.predictions.decoder.weight", "embeddings.word_embeddings.weight"),
        ("cls.predictions.decoder.bias", "cls.predictions.bias"),
    ),
    dropped=(
        r"(?:bert\.)?embeddings\.(?:position_ids|token_type_ids)",
        # Whether one sentence follows another: the second half of the published pretraining.
        r"cls\.seq_relationship\.(?:weight|bias)",
    ),
)  # fmt: skip

_BLOCK = r"(?:transformer\.)?(?P<block>h\.\d{1,4}\.)"
GPT2 = Names(
    classes=("GPT2Model", "GPT2LMHeadModel", "GPT2ForSequenceClassification"),
    rules=(
        Rule(r"(?:transformer\.)?(?P<table>wte|wpe)\.weight", "{table}.weight"),
        Rule(r"(?:transformer\.)?ln_f\." + _PARAMETER, "ln_f.{leaf}"),
        Rule(
            _BLOCK + r"(?P<module>ln_1|ln_2|(?:attn\.(?:c_attn|c_proj)|mlp\.(?:c_fc|c_proj)))\."
            + _PARAMETER,
            "{block}{module}.{leaf}",
        ),
        Rule(r"score\.weight", "score.weight"),
    ),
    aliases=(("lm_head.weight", "wte.weight"),),
    # Which tokens attention sees, as a triangle of ones, and the number for those it does not.
    dropped=(r"(?:transformer\.)?h\.\d{1,4}\.attn\.(?:bias|masked_bias)",),
)  # fmt: skip

_OLD = r"(?:vit\.)?encoder\.layer\.(?P<layer>\d{1,4})\."
_NEW = r"(?:vit\.)?layers\.(?P<layer>\d{1,4})\."
_ATTENTION = "encoder.layers.encoder_layer_{layer}.self_attention."
_LAYER = "encoder.layers.encoder_layer_{layer}."
VIT = Names(
    classes=("ViTModel", "ViTForImageClassification"),
    rules=(
        Rule(r"(?:vit\.)?embeddings\.cls_token", "class_token"),
        Rule(r"(?:vit\.)?embeddings\.position_embeddings", "encoder.pos_embedding"),
        Rule(
            r"(?:vit\.)?embeddings\.patch_embeddings\.projection\." + _PARAMETER,
            "conv_proj.{leaf}",
        ),
        *(
            Rule(pattern + _PARAMETER, _ATTENTION + "in_proj_{leaf}", part, 3)
            for part, (old, new) in enumerate(
                (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"))
            )
            for pattern in (
                _OLD + rf"attention\.attention\.{old}\.",
                _NEW + rf"attention\.{new}\.",
            )
        ),
        *(
            Rule(pattern + _PARAMETER, canonical)
            for old, new, canonical in (
                (r"attention\.output\.dense\.", r"attention\.o_proj\.",
                 _ATTENTION + "out_proj.{leaf}"),
                (r"layernorm_before\.", r"layernorm_before\.", _LAYER + "ln_1.{leaf}"),
                (r"layernorm_after\.", r"layernorm_after\.", _LAYER + "ln_2.{leaf}"),
                (r"intermediate\.dense\.", r"mlp\.fc1\.", _LAYER + "mlp.0.{leaf}"),
                (r"output\.dense\.", r"mlp\.fc2\.", _LAYER + "mlp.3.{leaf}"),
            )
            for pattern in (_OLD + old, _NEW + new)
        ),
        Rule(r"(?:vit\.)?layernorm\." + _PARAMETER, "encoder.ln.{leaf}"),
        Rule(r"classifier\." + _PARAMETER, "heads.head.{leaf}"),
    ),
    # The first token reaches the head without this layer.
    dropped=(r"(?:vit\.)?pooler\.dense\.(?:weight|bias)", r"(?:vit\.)?embeddings\.mask_token"),
)  # fmt: skip

_LEAF = r"(?P<leaf>weight|bias|running_mean|running_var)"
_STAGE = r"(?:resnet\.)?encoder\.stages\.(?P<stage>[0-3])\.layers\.(?P<block>\d{1,3})\."
RESNET = Names(
    classes=("ResNetModel", "ResNetForImageClassification"),
    rules=(
        Rule(r"(?:resnet\.)?embedder\.embedder\.convolution\.weight", "conv1.weight"),
        Rule(r"(?:resnet\.)?embedder\.embedder\.normalization\." + _LEAF, "bn1.{leaf}"),
        Rule(
            _STAGE + r"layer\.(?P<conv>[0-2])\.convolution\.weight",
            "layer{stage+1}.{block}.conv{conv+1}.weight",
        ),
        Rule(
            _STAGE + r"layer\.(?P<conv>[0-2])\.normalization\." + _LEAF,
            "layer{stage+1}.{block}.bn{conv+1}.{leaf}",
        ),
        Rule(
            _STAGE + r"shortcut\.convolution\.weight",
            "layer{stage+1}.{block}.downsample.0.weight",
        ),
        Rule(
            _STAGE + r"shortcut\.normalization\." + _LEAF,
            "layer{stage+1}.{block}.downsample.1.{leaf}",
        ),
        Rule(r"classifier\.1\." + _PARAMETER, "fc.{leaf}"),
    ),
    dropped=(r".*\.normalization\.num_batches_tracked",),
)  # fmt: skip

# What paribus itself saves where transformers has no such model; see the Hugging Face adapter.
PARIBUS = Names(
    classes=("ParibusForImageClassification", "ParibusForSequenceClassification"),
    rules=(Rule(r"network\.(?P<name>.+?)(?:\.value)?", "{name}"),),
    dropped=(r"network\..*\.num_batches_tracked",),
)

KINDS: dict[str, Names] = {
    "bert": BERT,
    "gpt2": GPT2,
    "vit": VIT,
    "resnet": RESNET,
    "paribus": PARIBUS,
}
