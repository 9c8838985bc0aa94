"""What goes with a model is saved with it, and transformers' ``Auto…`` classes open all of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cases
import numpy as np
import pytest
from command import python
from labs import Lab
from photographs import CAT

from paribus import belongings, weights
from paribus.architectures import Network, build
from paribus.belongings import Belongings, ImageProcessing
from paribus.data import pictures
from paribus.plan import Preprocess
from paribus.pretrained import describe

NETWORKS: dict[str, Network] = {
    "cls": cases.BERT,
    "mean": build("bert", {**cases.WORDS, "pooling": "mean"}, (cases.LENGTH,), 3),
    "masked": cases.MASKED_BERT,
    "numbers": build("bert", cases.WORDS, (cases.LENGTH,), 2, "regression"),
    "gpt2": cases.GPT2,
    "gpt2 numbers": build("gpt2", cases.WORDS, (cases.LENGTH,), 1, "regression"),
    "causal": cases.CAUSAL_GPT2,
    "vit": build("vit", {**cases.TINY, "patch": 16, "eps": 1e-12}, (3, 32, 48), 3),
    "resnet18": cases.RESNET,
}
NAMES = ("cat", "coffee", "palace", "tree")
TEXTS = ["a cat, a tree", "the coffee of the palace", "tree"]
# Exactly, and by the shorter side with half a pixel left over; up and down.
IMAGES = {
    "vit": ImageProcessing((35, 51), (32, 48), "bilinear", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)),
    "resnet18": ImageProcessing(37, (32, 32), "bicubic", (0.5,) * 3, (0.25, 0.5, 1.0)),
}
ENDS = "<|endoftext|>"


def _tokenizer(architecture: str) -> str:
    """Return a small tokenizer.json: WordPiece with BERT's special tokens, or byte-level BPE."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    if architecture == "gpt2":
        words = [ENDS, *"Ġatecofreplhs,", "Ġt", "at"]
        found = Tokenizer(
            models.BPE({word: n for n, word in enumerate(words)}, [("Ġ", "t"), ("a", "t")])
        )
        found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        found.add_special_tokens([ENDS])
        return str(found.to_str())
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, "a", "cat", "tree", "the", "co", "##ffee", "of", "palace", ","]
    found = Tokenizer(
        models.WordPiece({word: n for n, word in enumerate(words)}, unk_token="[UNK]")
    )
    found.normalizer = normalizers.BertNormalizer(lowercase=True)
    found.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    found.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )  # fmt: skip
    found.add_special_tokens(special)
    return str(found.to_str())


# What transformers' users do, with no code of paribus but where the model is one of its own.
OPEN = """
import json, sys
from pathlib import Path
import numpy as np
import torch
import transformers
from PIL import Image

root, photograph, texts = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
KINDS = {"masked": "MaskedLM", "causal": "CausalLM", "vit": "ImageClassification",
         "resnet18": "ImageClassification"}
said = {}
# The wrapped model last: the others must open before paribus is imported.
for folder in sorted(root.iterdir(), key=lambda folder: folder.name == "mean"):
    if folder.name == "mean":
        import paribus.backends.huggingface.models
    kind = KINDS.get(folder.name, "SequenceClassification")
    model = getattr(transformers, f"AutoModelFor{kind}").from_pretrained(folder).eval().double()
    config = model.config
    told = {"class": type(model).__name__, "names": getattr(config, "id2label", None),
            "pad": getattr(config, "pad_token_id", None)}
    if kind == "ImageClassification":
        for backend in ("pil", "torchvision"):
            open_ = transformers.AutoImageProcessor.from_pretrained(folder, backend=backend)
            given = open_(Image.open(photograph), return_tensors="pt")["pixel_values"]
            np.save(folder / f"{backend}.npy", given[0].double().numpy())
        told["processor"] = type(open_).__name__
        inputs = {"pixel_values": torch.from_numpy(np.load(folder / "inputs.npy"))}
    else:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        told |= {"ids": tokenizer(texts).input_ids, "length": tokenizer.model_max_length,
                 "pad token": tokenizer.pad_token}
        told["padded"] = {name: value.tolist() for name, value in tokenizer(
            texts, padding=True, truncation=True, return_tensors="pt").items()}
        x = torch.from_numpy(np.load(folder / "inputs.npy")).long()
        known = (x >= 0).long()
        x = torch.where(x >= 0, x, told["pad"] or 0)
        inputs = {"input_ids": x, "attention_mask": known}
    with torch.no_grad():
        np.save(folder / "outputs.npy", model(**inputs).logits.numpy())
    said[folder.name] = told
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, pool: Any) -> tuple[Path, Any, Any]:
    """Every network saved with what belongs to it, opened by transformers; and our own answers."""
    root = tmp_path_factory.mktemp("belongings")
    lab = Lab(pool, "huggingface")
    expected = {}
    for name, network in NETWORKS.items():
        folder = root / name
        session = lab.session(network, cases.task(network))
        # As float32 holds it: transformers opens what it saves in float64 as float32.
        session.import_weights({n: a.astype(np.float32) for n, a in cases.tensors(network).items()})
        x = cases.stored(network, 6)
        if network.reads_tokens:
            # 0 is for padding, which transformers finds the last token of a text by.
            x = np.where(x == 0, 1, x)
        scaling = cases.scaling(network)
        plan = cases.eval_plan(6, 6, scaling)
        expected[name] = session.predict(session.put(x, None), plan)
        session.save_native(folder, _belongings(network))
        np.save(folder / "inputs.npy", _inputs(network, x, scaling))
    said = python(OPEN, root, CAT, json.dumps(TEXTS), cwd=root)
    return root, said, expected


def _belongings(network: Network) -> Belongings:
    names = NAMES[: network.classes] if network.objective == "classification" else ()
    if network.reads_tokens:
        return Belongings(names, None, _tokenizer(network.architecture), 6)
    return Belongings(names, IMAGES[network.architecture])


def _inputs(network: Network, x: cases.Array, scaling: Preprocess) -> cases.Array:
    if network.reads_tokens:
        return x[:, : network.input_shape[0]]
    scaled = x * np.array(scaling.scale) - np.array(scaling.shift)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("name", NETWORKS)
def test_transformers_own_model_answers_the_same(opened: tuple[Path, Any, Any], name: str) -> None:
    root, said, expected = opened
    found, network = np.load(root / name / "outputs.npy"), NETWORKS[name]
    ours = expected[name]
    if network.objective == "masked_lm":
        real = np.load(root / name / "inputs.npy") >= 0
        found, ours = found[real], ours[real]
    assert cases.distance(found, ours) <= 1e-12
    assert said[name]["class"].startswith(
        "Paribus" if name == "mean" else {"b": "Bert", "g": "GPT2", "v": "ViT", "r": "ResNet"}[
            network.architecture[0]]
    )  # fmt: skip
    if network.objective == "classification":
        assert tuple(said[name]["names"].values()) == NAMES[: network.classes]
        assert describe(root / name).class_names == NAMES[: network.classes]


@pytest.mark.parametrize("name", [n for n in NETWORKS if NETWORKS[n].reads_tokens])
def test_transformers_own_tokenizer_gives_the_same_numbers(
    opened: tuple[Path, Any, Any], name: str
) -> None:
    from tokenizers import Tokenizer

    root, said, _ = opened
    told, architecture = said[name], NETWORKS[name].architecture
    ours = Tokenizer.from_str(_tokenizer(architecture))
    assert told["ids"] == [ours.encode(text).ids for text in TEXTS]
    assert told["length"] == 6
    assert told["pad"] == 0
    assert told["pad token"] == (ENDS if architecture == "gpt2" else "[PAD]")
    padded = told["padded"]["input_ids"]
    assert [len(row) for row in padded] == [6, 6, 6]
    assert padded[2][-1] == 0
    # GPT-2 takes the segments' numbers for tokens.
    assert ("token_type_ids" in told["padded"]) == (architecture == "bert")
    assert describe(root / name).tokenizer == root / name / "tokenizer.json"


@pytest.mark.parametrize("name", IMAGES)
def test_transformers_own_processor_gives_the_same_pixels(
    opened: tuple[Path, Any, Any], name: str
) -> None:
    root, said, _ = opened
    image = IMAGES[name]
    (seen,) = pictures.published([CAT], image)
    ours = (seen / 255 - np.array(image.mean)) / np.array(image.std)
    levels = 255 * np.array(image.std)[:, None, None]
    off = {
        backend: np.abs(np.load(root / name / f"{backend}.npy") - ours.transpose(2, 0, 1)) * levels
        for backend in ("pil", "torchvision")
    }
    # In levels of 0 … 255. The same library resizes; the other one rounds some values otherwise.
    assert off["pil"].max() <= 1e-3
    assert off["torchvision"].max() <= 1 + 1e-3
    assert (off["torchvision"] > 1e-3).mean() <= 0.01
    assert said[name]["processor"] == "CLIPImageProcessor"
    assert describe(root / name).image == image


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_saved_is_read_again(opened: tuple[Path, Any, Any], name: str) -> None:
    """The same tensors, and a description that builds the same network."""
    root, _, _ = opened
    network, found = NETWORKS[name], describe(root / name)
    given = {n: a.astype(np.float32) for n, a in cases.tensors(network).items()}
    read = {n: a.astype(np.float32) for n, a in weights.load(root / name).items()}
    assert weights.fingerprint(read) == weights.fingerprint(given)
    parameters = {n: v for n, v in found.model.items() if n != "architecture"}
    kind, objective = str(found.architecture), found.objective or "classification"
    again = build(kind, parameters, network.input_shape, network.classes, objective)
    assert weights.shapes(again) == weights.shapes(network)
    assert [node.attributes for node in again.nodes] == [node.attributes for node in network.nodes]
    assert found.objective == network.objective


def test_core_writes_it_in_no_frameworks_terms(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("a framework's own")
    given = Belongings(("a cat", "two\nlines"), IMAGES["vit"], "{}", 6)
    belongings.write(tmp_path, given)
    assert (tmp_path / "classes.txt").read_text() == "a cat\ntwo lines\n"
    assert json.loads((tmp_path / "preprocessing.json").read_text()) == {
        "resize": [35, 51], "crop": [32, 48], "interpolation": "bilinear", "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.3, 0.4], "half": "down",
    }  # fmt: skip
    assert (tmp_path / "tokenizer.json").read_text() == "a framework's own"
    (tmp_path / "other").mkdir()
    belongings.write(tmp_path / "other", replace(given, image=None))
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == [
        "classes.txt", "tokenizer.json",
    ]  # fmt: skip
