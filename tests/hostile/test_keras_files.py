"""Keras's own archives with a program in them: no file of them is opened, however it is packed.

Keras builds each file in a process of its own, and loads the first one there as it would be loaded
by somebody who trusts it, so that the test knows that the program in it works.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from command import python

from paribus import weights
from paribus.errors import WeightsError

# Writes a model whose Lambda layer leaves a file behind when it is called; the same with everything
# in its configuration that asks for trust; the same with members that would land elsewhere; and the
# whole model as HDF5, whose layers are built from its attributes.
BUILD = """
import json, sys, zipfile
from pathlib import Path

import keras

folder, ran = Path(sys.argv[1]), sys.argv[2]
program = f"lambda x: (__import__('pathlib').Path({ran!r}).touch(), x)[1]"
model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(eval(program)),
                          keras.layers.Dense(2)])
Path(ran).unlink(missing_ok=True)
model.save(folder / "lambda.keras")
model.save(folder / "lambda.h5")
with zipfile.ZipFile(folder / "lambda.keras") as file:
    members = {name: file.read(name) for name in file.namelist()}

def unsafe(value):
    if isinstance(value, dict):
        return {**{key: unsafe(inner) for key, inner in value.items()}, "safe_mode": False}
    return [unsafe(inner) for inner in value] if isinstance(value, list) else value

trusting = {**members, "config.json": json.dumps(unsafe(json.loads(members["config.json"])))}
outside = {**members, "../../outside": b"x", str(folder.parent / "absolute"): b"x"}
for name, files in (("trusting", trusting), ("outside", outside)):
    with zipfile.ZipFile(folder / f"{name}.keras", "w") as file:
        for member, content in files.items():
            file.writestr(member, content)
Path(ran).unlink(missing_ok=True)
keras.saving.load_model(folder / "lambda.keras", safe_mode=False)(keras.ops.ones((1, 4)))
works = Path(ran).exists()
Path(ran).unlink(missing_ok=True)
print(json.dumps(works))
"""

WORDS = r"layers with the names of their classes.* is not opened.*model\.save_weights\("


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keras") / "files"
    folder.mkdir()
    assert python(BUILD, folder, folder.parent / "ran", cwd=folder) is True
    return folder


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lambda.keras", WORDS),
        ("trusting.keras", WORDS),
        ("outside.keras", WORDS),
        ("lambda.h5", "not a file of keras.applications' VGG16 or VGG19"),
    ],
    ids=["lambda", "safe mode off", "names outside", "h5"],
)
def test_a_program_in_a_keras_file_is_not_executed(folder: Path, name: str, words: str) -> None:
    before = set(folder.parent.rglob("*"))
    with pytest.raises(WeightsError, match=words):
        weights.load(folder / name)
    assert set(folder.parent.rglob("*")) == before
    assert not (folder.parent.parent / "outside").exists()
