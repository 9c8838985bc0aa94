"""Canonical tensors: the published names, shapes, counts and initialisations."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from paribus import weights
from paribus.architectures import ARCHITECTURES, build
from paribus.architectures.published import PUBLISHED as PREPROCESSING
from paribus.errors import SpecError, WeightsError

# Published parameter counts for 1000 classes (torchvision's model pages).
PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
    "mobilenet_v2": 3_504_872,
    "vit_b_16": 86_567_656,
    "vit_b_32": 88_224_232,
    "vit_l_16": 304_326_632,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_architectures_have_the_published_number_of_parameters(name):
    assert build(name, {}, (3, 224, 224), 1000).parameter_count == PUBLISHED[name]


def test_freezing_by_stage():
    network = build("resnet18", {}, (3, 64, 64), 10)
    assert network.stages == ("stem", "layer1", "layer2", "layer3", "layer4", "head")
    assert network.trainable("body") == ("fc.weight", "fc.bias")
    above = network.trainable("layer4")
    assert {name.split(".")[0] for name in above} == {"layer4", "fc"}
    assert len(network.trainable("none")) == 62
    with pytest.raises(SpecError, match=r"layer5.*allowed: none, body, stem"):
        network.trainable("layer5")


@pytest.mark.parametrize(
    ("name", "parameters", "stage", "free"),
    [
        ("vgg11_bn", {}, "block5", {"features", "classifier"}),
        ("vgg11_bn", {}, "classifier", {"classifier"}),
        ("mobilenet_v2", {}, "neck", {"features", "classifier"}),
        ("vit", {"patch": 8, "layers": 2}, "layer1", {"encoder", "heads"}),
    ],
)
def test_stages_of_the_image_architectures(name, parameters, stage, free):
    network = build(name, parameters, (3, 32, 32), 10)
    assert {tensor.split(".")[0] for tensor in network.trainable(stage)} == free
    assert len(network.trainable("body")) == 2
    assert network.stages[-1] == "head"


def test_weight_decay_knows_what_is_a_weight():
    network = build("vit", {"patch": 8, "layers": 1}, (3, 32, 32), 10)
    roles = {name: tensor.role for name, tensor in network.tensors.items()}
    assert roles["class_token"] == roles["encoder.pos_embedding"] == "weight"
    layer = "encoder.layers.encoder_layer_0"
    assert roles[f"{layer}.self_attention.in_proj_weight"] == "weight"
    assert roles[f"{layer}.self_attention.in_proj_bias"] == "bias"
    assert roles[f"{layer}.self_attention.out_proj.bias"] == "bias"
    assert roles[f"{layer}.ln_1.weight"] == roles["encoder.ln.bias"] == "norm"


def test_image_architectures_are_drawn_as_published():
    """Deviations within 2 %: the tensors have ten thousand values and more."""
    vgg = weights.draw(build("vgg11", {"hidden": 64}, (3, 32, 32), 10), 3)
    assert vgg["features.8.weight"].std() == pytest.approx(np.sqrt(2 / (256 * 9)), rel=0.02)
    assert vgg["classifier.0.weight"].std() == pytest.approx(0.01, rel=0.02)
    mobilenet = weights.draw(build("mobilenet_v2", {}, (3, 32, 32), 10), 3)
    depthwise = mobilenet["features.17.conv.1.0.weight"]
    assert depthwise.shape == (960, 1, 3, 3)
    assert depthwise.std() == pytest.approx(np.sqrt(2 / (960 * 9)), rel=0.05)
    vit = weights.draw(build("vit", {"layers": 1}, (3, 64, 64), 10), 3)
    layer = "encoder.layers.encoder_layer_0"
    assert vit["conv_proj.weight"].std() == pytest.approx(1 / np.sqrt(3 * 16**2), rel=0.02)
    drawn = vit[f"{layer}.self_attention.in_proj_weight"]
    assert np.abs(drawn).max() == pytest.approx(np.sqrt(6 / (4 * 192)), rel=0.01)
    assert np.abs(vit[f"{layer}.mlp.0.bias"]).max() < 1e-5
    assert vit["encoder.pos_embedding"].std() == pytest.approx(0.02, rel=0.05)
    assert not vit["class_token"].any()
    assert not vit["heads.head.weight"].any()


def test_what_does_not_fit_a_vision_transformer_is_refused():
    with pytest.raises(SpecError, match=r"30×32 do not divide into patches of 16×16"):
        build("vit_b_16", {}, (3, 30, 32), 10)
    with pytest.raises(ValidationError, match=r"heads = 5 must divide hidden = 192"):
        build("vit", {"heads": 5}, (3, 32, 32), 10)
    with pytest.raises(ValidationError, match=r"dropout\n.*less than or equal to 0\.999"):
        build("vgg16", {"dropout": 1.0}, (3, 32, 32), 10)


def test_initial_weights_follow_the_published_distributions():
    network = build("resnet18", {}, (3, 64, 64), 10)
    drawn = weights.draw(network, seed=3)
    convolution = drawn["layer3.0.conv1.weight"]
    # Kaiming-normal by fan-out: √(2 / (256·9)); n = 294 912, so 1 % is above seven deviations.
    assert convolution.std() == pytest.approx(np.sqrt(2 / (256 * 9)), rel=0.01)
    assert (drawn["bn1.weight"] == 1).all()
    assert (drawn["bn1.running_mean"] == 0).all()
    assert np.abs(drawn["fc.weight"]).max() <= 1 / np.sqrt(512)


def test_a_tensor_depends_on_the_seed_and_its_name_alone():
    small = weights.draw(build("cnn", {"channels": [8]}, (1, 8, 8), 10), 5)
    large = weights.draw(build("cnn", {"channels": [8, 16]}, (1, 8, 8), 10), 5)
    assert (small["conv0.weight"] == large["conv0.weight"]).all()
    other = weights.draw(build("cnn", {"channels": [8]}, (1, 8, 8), 10), 6)
    assert not (small["conv0.weight"] == other["conv0.weight"]).any()


def test_weights_survive_a_file_and_a_wrong_set_is_listed(tmp_path):
    network = build("mlp", {"hidden": [4]}, (6,), 3)
    tensors = weights.draw(network, 0)
    weights.save(tmp_path / "w.safetensors", tensors, {"format": "paribus"})
    read = weights.load(tmp_path / "w.safetensors")
    assert weights.fingerprint(read) == weights.fingerprint(tensors)
    read["extra"] = read.pop("fc.bias")
    read["fc.weight"] = read["fc.weight"][:2]
    with pytest.raises(WeightsError) as caught:
        weights.check(read, weights.shapes(network))
    assert "missing 1: fc.bias" in str(caught.value)
    assert "extra 1: extra" in str(caught.value)
    assert "fc.weight: (2, 4) instead of (3, 4)" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x80\x04garbage", b"\xff" * 64])
def test_a_file_that_is_no_safetensors_is_refused(tmp_path, content):
    file = tmp_path / "w.safetensors"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match="not a readable safetensors"):
        weights.load(file)


def test_tables_need_an_mlp_and_small_images_are_refused_by_name():
    with pytest.raises(SpecError, match="choose architecture = 'mlp'"):
        build("resnet18", {}, (20,), 3)
    with pytest.raises(SpecError, match="too small"):
        build("cnn", {"channels": [4, 4, 4, 4]}, (1, 8, 8), 10)


@pytest.mark.parametrize("architecture", PREPROCESSING)
def test_a_published_head_ends_in_one_number_a_class(architecture: str) -> None:
    network = build(architecture, {}, (3, *PREPROCESSING[architecture].crop), 7)
    assert network.tensors[list(network.tensors)[-1]].shape == (7,)


def test_what_a_network_drops_is_where_the_published_models_drop():
    """Their modules' names; a network that drops nothing is what it was before there was any."""
    noise = {"dropout": 0.1, "attention_dropout": 0.1}
    small = {"vocabulary": 9, "layers": 1}
    assert build("vgg11", {"dropout": 0.5}, (3, 32, 32), 10).noisy == (
        "classifier.2", "classifier.5"
    )  # fmt: skip
    assert build("mobilenet_v2", {"dropout": 0.2}, (3, 32, 32), 10).noisy == ("classifier.0",)
    bert = (
        "embeddings.dropout",
        "encoder.layer.0.attention.self",
        "encoder.layer.0.attention.output.dropout",
        "encoder.layer.0.output.dropout",
    )
    assert build("bert", {**small, **noise}, (8,), 3).noisy == (*bert, "dropout")
    assert build("bert", {**small, **noise}, (8,), 9, "masked_lm").noisy == bert
    assert build("gpt2", {**small, **noise}, (8,), 9, "causal_lm").noisy == (
        "drop", "h.0.attn", "h.0.attn.resid_dropout", "h.0.mlp.dropout"
    )  # fmt: skip
    layer = "encoder.layers.encoder_layer_0"
    assert build("vit", {"layers": 1, **noise}, (3, 32, 32), 3).noisy == (
        "encoder.dropout", f"{layer}.self_attention", f"{layer}.dropout", f"{layer}.mlp.2",
        f"{layer}.mlp.4",
    )  # fmt: skip
    assert build("mlp", {"hidden": [4, 5], "dropout": 0.1}, (6,), 3).noisy == (
        "dropout.0", "dropout.1"
    )  # fmt: skip
    for name in ARCHITECTURES:
        texts = ARCHITECTURES[name].reads == "tokens"
        network = build(name, small if texts else {}, (8,) if texts else (3, 64, 64), 3)
        assert not network.noisy
        assert not any("dropout" in node.attributes for node in network.nodes)


@pytest.mark.parametrize("name", ["resnet50", "vit"])
def test_stochastic_depth_grows_linearly_over_the_blocks(name):
    """Huang et al. 2016: of L blocks, number l survives with 1 − l/L · p; the last with 1 − p."""
    network = build(name, {"stochastic_depth": 0.4}, (3, 64, 64), 3)
    found = [network.node[node].attributes["p"] for node in network.noisy]
    blocks = 16 if name == "resnet50" else 12
    each = len(found) // blocks
    expected = [0.4 * (index + 1) / blocks for index in range(blocks) for _ in range(each)]
    assert found == pytest.approx(expected)
    for node in network.noisy:
        # What is skipped is the branch, not the shortcut.
        adding = next(n for n in network.nodes if node in n.inputs)
        assert adding.op == "add"


def test_a_backend_without_attention_dropout_need_not_have_it():
    sizes = {"vocabulary": 9, "layers": 1}
    assert "attention_dropout" not in build("bert", sizes, (8,), 3).operations
    asked = build("bert", {**sizes, "attention_dropout": 0.1}, (8,), 3).operations
    assert asked >= {"attention_dropout", "dot_product_attention"}
    assert "dropout" not in asked
