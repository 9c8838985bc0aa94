"""Published checkpoints on every backend: the outputs are those of whoever published them."""

from __future__ import annotations

from pathlib import Path

import cases
import numpy as np
import pytest
from command import python
from labs import Lab
from photographs import MINILM

from paribus import weights
from paribus.architectures import Network, build
from paribus.plan import Preprocess
from paribus.pretrained import Pretrained, describe

NAMES = ("bert", "regression", "masked", "gpt2", "causal", "vit", "resnet")
# A session is compiled for a network, so each is built once.
_NETWORKS: dict[Path, Network] = {}


def _network(found: Pretrained, inputs: cases.Array) -> Network:
    """Build the network that a checkpoint says it is, for its inputs."""
    if found.path not in _NETWORKS:
        parameters = {name: v for name, v in found.model.items() if name != "architecture"}
        shape = (inputs.shape[1],) if found.reads_tokens else inputs.shape[1:]
        classes = found.classes or found.model["vocabulary"]
        assert found.architecture is not None
        assert found.objective is not None
        _NETWORKS[found.path] = build(
            found.architecture, parameters, shape, classes, found.objective
        )
    return _NETWORKS[found.path]


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_transformers(lab: Lab, published: Path, name: str) -> None:
    """Both in float64, from the same float32 tensors."""
    folder = published / name
    x, expected = np.load(folder / "inputs.npy"), np.load(folder / "outputs.npy")
    network = _network(describe(folder), x)
    session = lab.session(network, cases.task(network))
    session.import_weights(weights.load(folder))
    length = network.input_shape[0] if network.reads_tokens else None
    plan = cases.eval_plan(len(x), len(x), Preprocess(length=length))
    found = session.predict(session.put(_stored(network, x), None), plan)
    if network.objective in ("masked_lm", "causal_lm"):
        # What stands at padding is whatever it is.
        found, expected = found[x >= 0], expected[x >= 0]
    assert found.shape == expected.shape
    assert np.ptp(expected, axis=0).min() > 1e-3, "the inputs are not told apart"
    assert cases.distance(found, expected) <= 1e-10


# Every token of real sentences through the six published layers, by transformers and by a network
# of the same nodes that ends before any head; and by the network that classifies, whose last layer
# is made the identity, so that its outputs are the mean that stands for a text.
HIDDEN = """
import json, sys
import numpy as np
from pathlib import Path
from tokenizers import Tokenizer
from paribus import registry, weights
from paribus.adapter import Task
from paribus.architectures import build
from paribus.architectures.bert import BERT
from paribus.architectures.initializers import normal
from paribus.architectures.texts import TextBuilder
from paribus.plan import Preprocess, evaluation_plan
from paribus.pretrained import describe

folder, backend, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
texts = ["hello world", "Ceteris paribus: other things equal.", "A cat sat on the mat; " * 4]
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
tokenizer.no_padding()
tokens = [tokenizer.encode(text).ids for text in texts]
x = np.full((len(texts), max(map(len, tokens))), -1, dtype=np.int32)
for row, numbers in enumerate(tokens):
    x[row, : len(numbers)] = numbers

described = describe(folder)
sizes = {name: v for name, v in described.model.items() if name != "architecture"}
section = BERT(**sizes)
hidden = TextBuilder("bert", x.shape[1:], "masked_lm")
hidden.stage = "embeddings"
node = hidden.token_embedding("embeddings.word_embeddings", section.vocabulary, section.hidden)
node = hidden.segment_embedding("embeddings.token_type_embeddings", node, 2)
node = hidden.token_positions("embeddings.position_embeddings", node, section.positions,
                              weight=normal(0.02))
node = hidden.layer_norm("embeddings.LayerNorm", node, eps=section.eps)
for layer in range(section.layers):
    node = section._layer(hidden, f"encoder.layer.{layer}", node)
hidden.stage = "head"
hidden.predicted_tokens("hidden", node)
tensors = {n: a for n, a in weights.load(folder).items() if not n.startswith("pooler")}
mean = build("bert", sizes, x.shape[1:], section.hidden)
head = {"classifier.weight": np.eye(section.hidden), "classifier.bias": np.zeros(section.hidden)}

for name, network, given in (
    ("hidden", hidden.build(section.values(), section.hidden), tensors),
    ("mean", mean, tensors | head),
):
    weights.check(given, weights.shapes(network))
    with registry.require(backend).open(network, Task("sgd", network.trainable("embeddings")),
                                        device="cpu", precision="float32",
                                        numerics="strict") as session:
        session.import_weights(given)
        plan = evaluation_plan(np.arange(len(x)), len(x), Preprocess(length=x.shape[1]))
        np.save(out / f"{backend} {name}.npy", session.predict(session.put(x, None), plan))
np.save(out / "tokens.npy", x)
if backend == "torch":
    import torch
    from transformers import BertModel
    known = torch.from_numpy(x).long()
    mask = (known >= 0).long()
    with torch.no_grad():
        own = BertModel.from_pretrained(folder).eval()(
            input_ids=known.clamp_min(0), attention_mask=mask).last_hidden_state
    np.save(out / "own.npy", own.numpy())
print(json.dumps(described.model))
"""
# Of the text "hello world", as sentence-transformers publishes the model's use: the mean of the
# tokens' vectors, divided by its length.
HELLO = [-0.0345, 0.0310, 0.0067, 0.0261, -0.0394]


def test_a_published_sentence_model_has_its_published_vectors(tmp_path: Path) -> None:
    for backend in ("torch", "tensorflow"):
        python(HIDDEN, MINILM, backend, tmp_path, cwd=tmp_path)
    x, own = np.load(tmp_path / "tokens.npy"), np.load(tmp_path / "own.npy")
    assert x[0, :5].tolist() == [101, 7592, 2088, 102, -1]
    real = x >= 0
    mean = np.where(real[..., None], own, 0).sum(axis=1) / real.sum(axis=1, keepdims=True)
    for backend in ("torch", "tensorflow"):
        hidden = np.load(tmp_path / f"{backend} hidden.npy")
        # float32 through six layers.
        assert np.abs(hidden - own)[real].max() <= 1e-5, backend
        found = np.load(tmp_path / f"{backend} mean.npy")
        assert np.abs(found - mean).max() <= 1e-5, backend
        assert (found[0] / np.linalg.norm(found[0]))[:5] == pytest.approx(HELLO, abs=5e-5)


def _stored(network: Network, x: cases.Array) -> cases.Array:
    """Return inputs as stored examples: images channels last, a causal model's texts one longer."""
    if not network.reads_tokens:
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    if network.objective == "causal_lm":
        return np.pad(x, ((0, 0), (0, 1)), constant_values=-1)
    return x
