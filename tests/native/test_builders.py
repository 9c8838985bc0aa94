"""What is wrong with a builder or its model is said in one sentence, on each backend."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from labs import Lab, Pool

from paribus.errors import SpecError, Unsupported
from paribus.native.builder import Builder

INPUT = (1, 8, 8)
GOOD = {
    "torch": "from torch import nn\n\ndef build():\n"
    "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))\n",
    "tensorflow": "import keras\n\ndef build():\n"
    "    return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])\n",
    "huggingface": """
import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput


class Config(PretrainedConfig):
    model_type = "tiny"


class Tiny(PreTrainedModel):
    config_class = Config

    def __init__(self, config):
        super().__init__(config)
        self.head = torch.nn.Linear(64, 3)
        self.post_init()

    def forward(self, pixel_values):
        return ImageClassifierOutput(logits=self.head(pixel_values.flatten(1)))


def build():
    return Tiny(Config())
""",
}


@pytest.fixture(params=sorted(GOOD))
def lab(request: pytest.FixtureRequest, pool: Pool) -> Lab:
    """Of the backends that look at models of one's own."""
    return Lab(pool, request.param)


@pytest.fixture
def said(lab: Lab, tmp_path: Path) -> Callable[..., str]:
    """What is said of a module's code, or of another target than its ``build``."""

    def of(code: str, target: str = "mine:build") -> str:
        (tmp_path / "mine.py").write_text(code)
        with pytest.raises(SpecError) as refused:
            lab.backend.inspect(Builder(target, str(tmp_path)), INPUT, 0)
        return str(refused.value)

    return of


def test_a_model_is_looked_at_alike_each_time(lab: Lab, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    folder.mkdir()
    (folder / "mine.py").write_text(GOOD[lab.name])
    builder = Builder("mine:build", str(folder))
    first, second = (lab.backend.inspect(builder, INPUT, 0) for _ in range(2))
    assert first.tensors == second.tensors
    assert first.outputs == (3,)
    assert sorted(tensor.leaf for tensor in first.tensors) == ["bias", "weight"]
    for name, array in first.initial.items():
        assert (array == second.initial[name]).all()


def test_no_such_module_or_function(said: Callable[..., str], tmp_path: Path) -> None:
    assert f"there is no module 'mime' in {tmp_path}" in said("", "mime:build")
    assert "Did you mean 'mine'?" in said("", "mime:build")
    assert "no function 'build'" in said("def built():\n    pass\n")
    assert "Did you mean 'built'?" in said("def built():\n    pass\n")
    assert "mine:build is a int; name a function" in said("build = 3\n")


def test_code_that_fails(said: Callable[..., str]) -> None:
    assert "cannot be imported: ZeroDivisionError" in said("1 / 0\n")
    missing = said("import nowhere_at_all\n")
    assert "cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_all'" in missing
    failing = said("def build():\n    raise ValueError('no weights here')\n")
    assert "mine:build failed: ValueError: no weights here" in failing
    assert "failed: TypeError" in said("def build(classes):\n    return classes\n")


def test_what_is_no_model_of_the_framework(lab: Lab, said: Callable[..., str]) -> None:
    kinds = {"torch": "torch.nn.Module", "tensorflow": "keras.Model",
             "huggingface": "transformers.PreTrainedModel"}  # fmt: skip
    assert f"returned a dict, not a {kinds[lab.name]}" in said("def build():\n    return {}\n")


def test_a_model_that_does_not_take_the_inputs(lab: Lab, said: Callable[..., str]) -> None:
    if lab.name == "tensorflow":
        code = ("import keras\n\ndef build():\n    x = keras.Input((5,))\n"
                "    return keras.Model(x, keras.layers.Dense(3)(x))\n")  # fmt: skip
        assert "the model fails on inputs [2, 8, 8, 1]" in said(code)
    else:
        code = GOOD[lab.name].replace("Linear(64", "Linear(5")
        assert "the model fails on inputs [2, 1, 8, 8]" in said(code)


def test_a_model_that_returns_something_else(lab: Lab, said: Callable[..., str]) -> None:
    code = {
        "torch": GOOD["torch"].replace("nn.Flatten(), ", "").replace("Linear(64", "Linear(8"),
        "tensorflow": GOOD["tensorflow"].replace("keras.layers.Flatten(), ", ""),
        "huggingface": GOOD["huggingface"].replace("pixel_values.flatten(1))", "pixel_values)")
        .replace("Linear(64", "Linear(8"),
    }  # fmt: skip
    assert "outputs]" in said(code[lab.name])


def test_two_folders_may_have_modules_of_one_name(lab: Lab, tmp_path: Path) -> None:
    for outputs in (3, 4, 3):
        folder = tmp_path / str(outputs)
        folder.mkdir(exist_ok=True)
        code = (
            GOOD[lab.name].replace("64, 3", f"64, {outputs}").replace("Dense(3", f"Dense({outputs}")
        )
        (folder / "mine.py").write_text(code)
        found = lab.backend.inspect(Builder("mine:build", str(folder)), INPUT, 0)
        assert found.outputs == (outputs,)


def test_a_module_may_not_hide_an_imported_one(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("def build():\n    pass\n")
    before = list(sys.path)
    with pytest.raises(SpecError, match="has the name of the module 'json', which is already"):
        Builder("json:build", str(tmp_path)).build()
    assert sys.modules["json"] is json
    assert sys.path == before


def test_what_only_keras_own_loop_would_do_is_refused(tmp_path: Path, pool: object) -> None:
    lab = Lab(pool, "tensorflow")  # type: ignore[arg-type]
    for change, words in (
        ("Dense(3, kernel_regularizer='l2')", "adds 1 losses of its own"),
        ("Dense(3, kernel_constraint='max_norm')", "constraints of weights"),
        ("Dense(3, dtype='float16')", "compute in another"),
    ):
        (tmp_path / "mine.py").write_text(GOOD["tensorflow"].replace("Dense(3)", change))
        with pytest.raises(SpecError, match=words):
            lab.backend.inspect(Builder("mine:build", str(tmp_path)), INPUT, 0)


def test_a_backend_that_takes_no_models_says_so(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="'jax'"):
        Lab(pool, "jax").backend.inspect(Builder("mine:build", str(tmp_path)), INPUT, 0)
