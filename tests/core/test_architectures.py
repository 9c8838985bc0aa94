"""Canonical tensors: the published names, shapes, counts and initialisations."""

from __future__ import annotations

import numpy as np
import pytest

from paribus import weights
from paribus.architectures import build
from paribus.errors import SpecError, WeightsError

# Published parameter counts for 1000 classes (torchvision's model pages).
PUBLISHED = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_resnets_have_the_published_number_of_parameters(name):
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
