"""Valid inputs for each target, as small as they can be."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from paribus import weights
from paribus.channel import send

ENTRY, SUBJECT = "e" * 64, "subject"
AXES = {"layout": ("first", "last"), "threads": (1, 2)}
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "sat", "the", "##s")
TINY = {"vocabulary": 10, "positions": 8, "layers": 1, "heads": 1, "hidden": 2, "intermediate": 2}
BERT = {"model_type": "bert", "architectures": ["BertForSequenceClassification"],
        "vocab_size": 10, "hidden_size": 2, "num_hidden_layers": 1, "num_attention_heads": 1,
        "intermediate_size": 2, "max_position_embeddings": 8,
        "id2label": {"0": "no", "1": "yes"}}  # fmt: skip
VIT = {"model_type": "vit", "architectures": ["ViTForImageClassification"], "hidden_size": 2,
       "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 2, "image_size": 8,
       "patch_size": 4, "id2label": {"0": "no", "1": "yes", "2": "so"}}  # fmt: skip
SPEC: dict[str, Any] = {
    "name": "x", "seed": 3, "backend": "torch", "steps": ["select", "optimize", "finetune"],
    "data": {"classes": [0, 1], "limit": 90, "split": {"validation": 0.2}},
    "model": {"architecture": "mlp", "hidden": [6]},
    "select": {"folds": 3, "candidates": [{"name": "a"}, {"name": "b", "model": "cnn"}]},
    "optimize": {"trials": 3,
                 "search": {"finetune.optimizer.learning_rate": {"low": 1e-3, "high": 0.1}}},
    "finetune": {"epochs": 2, "optimizer": {"name": "sgd", "learning_rate": 0.05}},
}  # fmt: skip


def _tokenizer() -> str:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    rust = Tokenizer(models.WordPiece({w: n for n, w in enumerate(WORDS)}, unk_token="[UNK]"))
    rust.normalizer = normalizers.Sequence([normalizers.Replace("x", "ks"), normalizers.NFC()])
    rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    rust.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )  # fmt: skip
    return str(rust.to_str())


TOKENIZER = _tokenizer()


def examples(section: dict[str, Any]) -> None:
    """Read the examples of a ``data`` section, as a run does."""
    from paribus.data import load
    from paribus.spec.data import Data

    found = load(Data.model_validate(section), 0, tokenizer=TOKENIZER)
    np.asarray(found.x[:4])


def _put(folder: Path, files: dict[str, bytes | str]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def specs(top: Path) -> None:
    from paribus.spec import dumps, load, starter

    _put(top, {"toml/spec.toml": dumps(load(SPEC)), "starter/spec.toml": starter(),
               "json/spec.json": json.dumps(SPEC), "yaml/spec.yaml": _yaml(SPEC)})  # fmt: skip


def _yaml(tree: Any) -> str:
    import yaml

    return str(yaml.safe_dump(tree))


def _tensors() -> dict[str, Any]:
    return {"fc.weight": np.arange(6.0, dtype=np.float32).reshape(2, 3),
            "fc.bias": np.ones(2, np.float16), "wide": np.ones((1, 0, 4))}  # fmt: skip


def safetensors(top: Path) -> None:
    (top / "one").mkdir()
    weights.save(top / "one" / "model.safetensors", _tensors(), {"a": "b"})


def state_dicts(top: Path) -> None:
    import torch

    one = torch.arange(6.0).reshape(2, 3)
    state = {"fc.weight": one, "fc.bias": one[0], "half": one.bfloat16(), "n": torch.tensor(7)}
    for name, new in (("new", True), ("old", False)):
        (top / name).mkdir()
        torch.save(
            {"epoch": 3, "state_dict": state}, top / name / "state.pth",
            _use_new_zipfile_serialization=new,
        )  # fmt: skip
    _put(top, {"pickle/state.pth": pickle.dumps({"a": [1, "b", {"c": 1.5}]}, 2)})


def keras_files(top: Path) -> None:
    import h5py

    for name in ("first", "whole"):
        (top / name).mkdir()
        with h5py.File(top / name / "vgg.h5", "w", libver="earliest") as file:
            root = file if name == "first" else file.create_group("model_weights")
            for layer, shape in (("block1_conv1", (3, 3, 3, 2)), ("block1_conv2", (3, 3, 2, 2))):
                group = root.create_group(layer)
                group[f"{layer}_W_1:0"] = np.ones(shape, np.float32)
                group[f"{layer}_b_1:0"] = np.ones(2, np.float32)


def published(top: Path) -> None:
    from paribus.architectures import build

    network = build("bert", TINY, (8,), 2)
    drawn = {n: a.astype(np.float32) for n, a in weights.draw(network, 0).items()}
    for name in ("whole", "shards"):
        _put(top / name, {"config.json": json.dumps(BERT), "tokenizer.json": TOKENIZER})
    weights.save(top / "whole" / "model.safetensors", drawn, {})
    half = len(drawn) // 2
    names, places = list(drawn), {}
    for number, some in enumerate((names[:half], names[half:])):
        file = f"model-{number}.safetensors"
        weights.save(top / "shards" / file, {name: drawn[name] for name in some}, {})
        places |= dict.fromkeys(some, file)
    _put(top / "shards", {
        "model.safetensors.index.json": json.dumps({"weight_map": places}),
        "modules.json": json.dumps([{"type": "s.Transformer", "path": ""},
                                    {"type": "s.Pooling", "path": "1_Pooling"}]),
        "1_Pooling/config.json": json.dumps({"pooling_mode_mean_tokens": True}),
    })  # fmt: skip
    vit = {"image_processor_type": "ViTImageProcessor", "size": {"height": 8, "width": 8},
           "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "resample": 2}  # fmt: skip
    _put(top / "vit", {"config.json": json.dumps(VIT), "preprocessor_config.json": json.dumps(vit)})
    weights.save(top / "vit" / "model.safetensors", _tensors(), {})


def runs(top: Path) -> None:
    result = {
        "name": "x", "status": "complete", "backend": "torch", "device": "cpu", "seed": 0,
        "precision": "float32", "numerics": "strict", "steps": {}, "seconds": 1.5,
        "test": {"loss": 0.5, "accuracy": 0.75, "examples": 4},
        "legs": [{"backend": "torch", "choices": [json.loads(_choice())]}],
    }  # fmt: skip
    images = {
        "architecture": "mlp", "parameters": {"hidden": [3]}, "input_shape": [1, 8, 8],
        "classes": 2, "objective": "classification", "class_names": ["a", "b"],
        "stored_shape": [8, 8, 1], "value_range": 255.0, "interpolation": "bilinear",
        "background": [255, 255, 255], "fit": "stretch",
        "preprocess": {"scale": [0.1], "shift": [0.5], "crop": [8, 8], "length": None},
    }  # fmt: skip
    texts = {
        "architecture": "bert", "parameters": TINY, "input_shape": [8], "classes": 2,
        "objective": "classification", "class_names": ["a", "b"], "stored_shape": [8],
        "value_range": 1.0, "columns": ["text"],
        "preprocess": {"scale": [1.0], "shift": [0.0], "crop": None, "length": 8},
    }  # fmt: skip
    rows = "".join(json.dumps({"split": "train", "loss": 0.5, "n": n}) + "\n" for n in range(3))
    for name, model in (("images", images), ("texts", texts)):
        _put(top / name, {"result.json": json.dumps(result | {"model": model}),
                          "metrics.jsonl": rows, "tokenizer.json": TOKENIZER})  # fmt: skip
        weights.save(top / name / "weights.safetensors", {"a": np.ones(1)}, {})


def checkpoints(top: Path) -> None:
    from paribus.runstate.records import Finished, Identity, Mark, Outcome, Place, State, UnderWay
    from paribus.runstate.store import Store

    (top / "one").mkdir(parents=True, exist_ok=True)
    store = Store(top / "one")
    seconds = dict.fromkeys(("seconds", "train_seconds", "compile_seconds"), 0.5)
    outcome = Outcome(kept_epoch=1, epochs=2, optimizer_steps=8, train_loss=0.5, validation=None,
                      stopped=True, examples=9, **seconds)  # fmt: skip
    identity = Identity(labels={"step": "select", "fold": 1}, depends={"rows": "abc"})
    judged = {"loss": 0.1, "examples": 3, "scores": {"r2": None, "accuracy": 0.5}}
    place = {"epoch": 2, "start": 1, "loss_sum": 0.5, "counted": 3.0, "best": None, "waited": 0,
             "kept": (1, 0.25, judged), "validations": [judged, None]}  # fmt: skip
    model = store.save_model({"a": np.zeros((2, 3), np.float32)})
    ended = Finished(identity=identity, how="complete", model=model, outcome=outcome, seconds=1.0)
    state = State(
        format=1, spec={"seed": 0}, data={}, optimizer_steps=5,
        metrics=Mark(size=0, sha256=sha256().hexdigest()), legs=[], finished=[ended],
        training=UnderWay(identity=identity, place=Place(**place, **seconds)),
    )  # fmt: skip
    store.write(state, {"weights/a": np.ones((2, 3)), "kept/a": np.ones((2, 3))})


def sealed(folder: Path) -> None:
    """Write the manifest that belongs to a checkpoint's files as they are."""
    files = {
        path.name: {"size": path.stat().st_size, "sha256": sha256(path.read_bytes()).hexdigest()}
        for path in sorted(folder.iterdir())
        if path.name != "manifest.json"
    }
    made = json.dumps({"files": files, "format": 1}, sort_keys=True, separators=(",", ":"))
    (folder / "manifest.json").write_text(made + "\n")


def features(top: Path) -> None:
    numbers = np.arange(6, dtype="<f4").reshape(3, 2)
    told = {"format": 1, "shape": [3, 2], "dtype": "<f4", "about": {"model": "m"},
            "sha256": sha256(numbers.tobytes()).hexdigest(), "same": {"8": True}}  # fmt: skip
    _put(top / "one" / ENTRY, {"entry.json": json.dumps(told), "features.bin": numbers.tobytes()})


def _choice() -> str:
    settings = {"layout": "first", "threads": 2}
    return json.dumps({
        "purpose": "training", "title": "mlp", "subject": SUBJECT, "settings": settings,
        "seconds": 0.1, "reference_seconds": 0.2, "error": 0.0, "tolerance": 1e-4,
        "tried": [{"settings": settings, "verdict": "kept", "seconds": 0.1, "error": 0.0}],
    })  # fmt: skip


def choices(top: Path) -> None:
    _put(top, {"one/tuning/key.json": _choice()})


def archives(top: Path) -> None:
    x = np.arange(6 * 16, dtype=np.uint8).reshape(6, 4, 4)
    y = np.arange(6) % 2
    site, parts = np.array(["n", "s"] * 3), ("train", "test")
    for name, save in (("plain", np.savez), ("packed", np.savez_compressed)):
        (top / name).mkdir()
        save(top / name / "data.npz", x=x, y=y, site=site, class_names=np.array(["a", "b"]))
    (top / "parts").mkdir()
    arrays = {f"{key}_{p}": a for key, a in (("x", x), ("y", y), ("site", site)) for p in parts}
    np.savez(top / "parts" / "data.npz", **arrays)


def idx_files(top: Path) -> None:
    content = b"\0\0\x08\x03" + struct.pack(">3I", 3, 4, 4) + bytes(range(48))
    _put(top, {"plain/images": content, "packed/images.gz": gzip.compress(content)})


def csv_files(top: Path) -> None:
    rows = 'text,label,n\na cat,yes,1\n"the, ""cat""\nsat",no,2\nsat,yes,3\na,no,4\n'
    _put(top, {"one/data.csv": rows})


def json_lines(top: Path) -> None:
    rows = [{"text": t, "label": n, "n": 1.5} for t, n in (("a cat", "y"), ("sat", "n")) * 2]
    _put(top, {"one/data.jsonl": "\n".join(json.dumps(row) for row in rows)})


def _arrow() -> Any:
    import pyarrow as pa

    return pa.table({"text": ["a cat", "sat", "the", "a"],
                     "label": pa.array([0, 1, 0, 1], pa.int8())})  # fmt: skip


def parquet(top: Path) -> None:
    import pyarrow.parquet as pq

    for name, packing in (("plain", "none"), ("packed", "snappy")):
        (top / name).mkdir()
        pq.write_table(_arrow(), top / name / "data.parquet", compression=packing)


def saved(top: Path) -> None:
    import pyarrow as pa

    (top / "one").mkdir()
    with pa.ipc.new_stream(top / "one" / "data.arrow", _arrow().schema) as stream:
        stream.write_table(_arrow())
    label = {"names": ["no", "yes"], "_type": "ClassLabel"}
    _put(top / "one", {
        "state.json": json.dumps({"_data_files": [{"filename": "data.arrow"}]}),
        "dataset_info.json": json.dumps({"features": {"label": label}}),
    })  # fmt: skip


def images(top: Path) -> None:
    from PIL import Image

    pixels = np.arange(10 * 12 * 4, dtype=np.uint8).reshape(10, 12, 4)
    kinds = "png RGBA,png P,png I;16,jpg RGB,bmp RGB,webp RGBA,ppm RGB,pgm L"
    for suffix, mode in (kind.split() for kind in kinds.split(",")):
        if mode == "I;16":
            image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
        else:
            image = Image.fromarray(pixels).convert(mode)
        packed = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {"exif": exif} if suffix in ("jpg", "webp") else {}
        image.save(packed, {"jpg": "JPEG", "pgm": "PPM"}.get(suffix, suffix.upper()), **options)
        name = mode.replace(";", "")
        _put(top, {f"{suffix} {name}/picture.{suffix}": packed.getvalue()})


def texts(top: Path) -> None:
    rows = "text\na cat\nsat\n"
    _put(top, {"one/a.txt": "a cat sat\n the cats", "one/b.csv": rows,
               "one/c.jsonl": '{"text": "a cat"}\n{"text": "the"}\n'})  # fmt: skip


def tokenizers(top: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    numbers = {letter: n for n, letter in enumerate([*letters, "at", "Ġc", "<|endoftext|>"])}
    bpe = Tokenizer(models.BPE(numbers, [("a", "t"), ("Ġ", "c")]))
    split = pre_tokenizers.Split(_regex(r"\p{L}+|\s+(?!\S)|\s+"), "isolated")
    bpe.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(use_regex=False)])
    bpe.decoder = decoders.ByteLevel()
    config = json.dumps({"do_lower_case": True, "unk_token": "[UNK]", "cls_token": "[CLS]"})
    merges = "#version: 0.2\na t\nĠ c\n"
    _put(top, {
        "wordpiece/tokenizer.json": TOKENIZER, "bpe/tokenizer.json": str(bpe.to_str()),
        "vocab/vocab.txt": "\n".join(WORDS), "vocab/tokenizer_config.json": config,
        "merges/vocab.json": json.dumps(numbers), "merges/merges.txt": merges,
    })  # fmt: skip


def _regex(pattern: str) -> Any:
    from tokenizers import Regex

    return Regex(pattern)


def names(top: Path) -> None:
    table = {"conv.weight": {"name": "conv/kernel", "axes": [2, 3, 1, 0], "view": [1, 2],
                             "shape": [2]},
             "a": "b", "c": [{"name": "d"}, {"name": "e"}]}  # fmt: skip
    _put(top, {"one/names.json": json.dumps({"reference": "torch", "tensorflow": table})})


def frames(top: Path) -> None:
    packed = io.BytesIO()
    send(packed, {"method": "x", "arguments": {"a": np.ones((2, 3)), "b": [1, None, "c"]}})
    _put(top, {"one/frame": packed.getvalue()})
