"""``paribus export`` of models of texts, whoever trained them: every framework opens them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from command import Run, Worker, python
from labs import PROMISED

from paribus.data import passages
from paribus.onnx import check

Array = npt.NDArray[Any]
TEXTS = [
    "the cat and the dog with a bone",
    "sail",
    "a loaf of rye on the oven and very old flour for its crust with salt to rise good bread",
]
# experiment → what transformers calls the model; the last is one that it does not have
KINDS = {
    "masked": "BertForSequenceClassification",
    "causal": "GPT2LMHeadModel",
    "numbers": "AutoModelForSequenceClassification",
}
# Who trained what: all backends something. Every pair with every kind is shown in full.
SOME = {"masked": ("torch", "tensorflow"), "causal": ("torch", "huggingface"),
        "numbers": ("torch", "jax")}  # fmt: skip
EVERY = dict.fromkeys(KINDS, PROMISED)

# Opens what was exported with the framework's own loader, and writes its outputs beside it.
OPEN = """
import json, os, sys
from pathlib import Path
os.environ["KERAS_BACKEND"] = "tensorflow"
import numpy as np

target, root, kinds, exports = sys.argv[1], Path(sys.argv[2]), *map(json.loads, sys.argv[3:])
known = {}
for kind, trained in exports:
    folder = root / f"{kind} {trained} to {target}"
    given = {name: np.load(root / f"{kind}-{name}.npy") for name in
             ("input_ids", "attention_mask", "token_type_ids")}
    if target == "tensorflow":
        import keras
        model = keras.saving.load_model(folder / "model.keras")
        names = [tensor.name for tensor in model.inputs]
        outputs = model({name: given[name].astype(np.int32) for name in names}).numpy()
    elif target == "jax":
        import jax
        from jax import export
        from safetensors.numpy import load_file
        jax.config.update("jax_enable_x64", True)  # the runs are in float64
        function = export.deserialize(bytearray((folder / "apply.jax").read_bytes()))
        x = np.where(given["attention_mask"] > 0, given["input_ids"], -1).astype(np.int32)
        if kind != "causal":
            x = np.stack([x, given["token_type_ids"].astype(np.int32)], axis=-1)
        outputs = np.asarray(function.call(load_file(folder / "model.safetensors"), x))
    else:
        import torch, transformers
        if kinds[kind].startswith("Auto"):
            import paribus.backends.huggingface.models
        kind_of_model = getattr(transformers, kinds[kind])
        if target == "huggingface":
            model = kind_of_model.from_pretrained(folder)
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            text = json.loads((root / "texts.json").read_text())[0]
            ids = tokenizer(text)["input_ids"]
            assert ids == given["input_ids"][0][: len(ids)].tolist()
        else:
            # Canonical names are transformers' without the prefix; nothing of ours is needed.
            from safetensors.torch import load_file
            model = kind_of_model.from_config(known[kind]) if kinds[kind].startswith("Auto") else (
                kind_of_model(known[kind]))
            state = load_file(folder / "model.safetensors")
            prefix = {"masked": "bert.", "causal": "transformer.", "numbers": "network."}[kind]
            heads = () if kind == "numbers" else ("classifier.", "score.")
            state = {n if n.startswith(heads) else prefix + n: t for n, t in state.items()}
            if kind == "causal":
                state["lm_head.weight"] = state["transformer.wte.weight"]
            model = model.to(state[next(iter(state))].dtype)
            model.load_state_dict(state, strict=True)
        known[kind] = model.config
        model.eval()
        tensors = {name: torch.from_numpy(array) for name, array in given.items()}
        if kind == "causal":
            del tensors["token_type_ids"]
        with torch.no_grad():
            outputs = model(**tensors).logits.numpy()
    np.save(folder / "outputs.npy", outputs)
print(json.dumps(len(exports)))
"""
EXPORT = """
import json, sys
from pathlib import Path
import paribus

targets, root, runs = sys.argv[1].split(), Path(sys.argv[2]), json.loads(sys.argv[3])
for target in targets:
    for name, run in runs.items():
        paribus.export(run, target, root / f"{name} to {target}")
print(json.dumps(len(runs)))
"""


class Exported(NamedTuple):
    """Folders below ``root``, called "KIND TRAINED to TARGET"; the runs' own outputs by kind."""

    root: Path
    own: dict[str, Array]
    trained: Mapping[str, Sequence[str]]


@pytest.fixture(
    scope="module", params=[SOME, pytest.param(EVERY, marks=pytest.mark.full)], ids=["some", "all"]
)
def exported(
    request: pytest.FixtureRequest, languages: dict[str, dict[str, Run]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Exported:  # fmt: skip
    chosen: Mapping[str, Sequence[str]] = request.param
    root = tmp_path_factory.mktemp("text exports")
    (root / "texts.json").write_text(json.dumps(TEXTS))
    runs = {
        f"{kind} {trained}": str(languages[trained][kind].folder)
        for kind in KINDS
        for trained in chosen[kind]
    }
    own = {}
    for kind in KINDS:
        folder = languages["torch"][kind].folder
        x = passages.encode(TEXTS, (folder / "tokenizer.json").read_text(), 32).astype(np.int64)
        np.save(root / f"{kind}-input_ids.npy", np.maximum(x, 0))
        np.save(root / f"{kind}-attention_mask.npy", (x >= 0).astype(np.int64))
        np.save(root / f"{kind}-token_type_ids.npy", np.zeros_like(x))
        own[kind] = x
    # TensorFlow and PyTorch do not share a process.
    for targets in ("tensorflow", "huggingface torch jax onnx"):
        python(EXPORT, targets, root, json.dumps(runs), cwd=root)
    exports = json.dumps([name.split() for name in runs])
    arguments = (root, json.dumps(KINDS))
    for target in ("tensorflow", "jax"):
        python(OPEN, target, *arguments, exports, cwd=root)
    for target in ("huggingface", "torch"):
        program = (
            OPEN
            if target == "huggingface"
            else OPEN.replace(
                "known = {}\n",
                "known = {}\nimport transformers, paribus.backends.huggingface.models\n"
                "for kind in kinds:\n"
                "    known[kind] = transformers.AutoConfig.from_pretrained("
                'root / f"{kind} torch to huggingface")\n',
            )
        )
        python(program, target, *arguments, exports, cwd=root)
    return Exported(root, own, chosen)


def _own(languages: dict[str, dict[str, Run]], kind: str, root: Path) -> Array:
    """Return the outputs of the run itself, by the backend that has PyTorch."""
    program = """
import json, sys
import paribus
with paribus.Result(sys.argv[1], backend="torch") as result:
    print(json.dumps(result.logits(json.loads(sys.argv[2])).tolist()))
"""
    folder = languages["torch"][kind].folder
    return np.array(python(program, folder, json.dumps(TEXTS), cwd=root))


@pytest.mark.parametrize("kind", KINDS)
def test_every_pair_opens_to_the_same_outputs(
    exported: Exported, languages: dict[str, dict[str, Run]], kind: str
) -> None:
    own = _own(languages, kind, exported.root)
    x = exported.own[kind]
    assert np.ptp(own.reshape(len(own), -1)[:, :3], axis=0).max() > 1e-3
    names = ("input_ids", "attention_mask", "token_type_ids")
    for trained in exported.trained[kind]:
        for target in (*PROMISED, "onnx"):
            folder = exported.root / f"{kind} {trained} to {target}"
            if target == "onnx":
                given = {name: np.load(exported.root / f"{kind}-{name}.npy") for name in names}
                found = next(iter(check(folder / "model.onnx", given).values()))
            else:
                found = np.load(folder / "outputs.npy")
            if kind == "causal":
                # What stands at padding reaches nobody.
                real = x >= 0
                longest = own.shape[1]
                found = found[real]
                expected = own[real[:, :longest]]
            else:
                expected = own
            assert np.abs(found - expected).max() <= 1e-5, (trained, target)


def test_what_goes_with_a_model_of_texts_is_written_beside_it(
    exported: Exported, languages: dict[str, dict[str, Run]]
) -> None:
    stored = languages["torch"]["masked"].folder / "tokenizer.json"
    for target in ("torch", "tensorflow", "jax", "onnx"):
        folder = exported.root / f"masked torch to {target}"
        assert (folder / "tokenizer.json").read_text() == stored.read_text()
        assert (folder / "classes.txt").read_text() == "boats\nbread\npets\n"


def test_an_exported_folder_answers_as_the_run(
    exported: Exported, languages: dict[str, dict[str, Run]], worker: Worker
) -> None:
    options = ("--backend", "torch", "--device", "cpu", "--json")
    run = languages["torch"]["masked"].folder
    folder = exported.root / "masked torch to huggingface"
    own, saved = (
        worker("predict", *words, *TEXTS, *options, cwd=exported.root)
        for words in ((run,), ("--weights", folder))
    )
    assert own.code == saved.code == 0, own.err + saved.err
    ours, theirs = json.loads(own.out), json.loads(saved.out)
    assert [one["input"] for one in ours] == TEXTS
    for left, right in zip(ours, theirs, strict=True):
        assert [g["label"] for g in left["top"]] == [g["label"] for g in right["top"]]
        assert [g["probability"] for g in left["top"]] == pytest.approx(
            [g["probability"] for g in right["top"]], abs=1e-5
        )
