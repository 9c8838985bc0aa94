"""What ``weights.load`` reads: one file, a run folder, or a folder as transformers saves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from paribus.checkpoints import foreign
from paribus.checkpoints.canonical import Source, canonical
from paribus.checkpoints.fields import Fields
from paribus.checkpoints.folder import Folder
from paribus.checkpoints.hub import located
from paribus.checkpoints.names import KINDS
from paribus.checkpoints.tensorfile import Shards, TensorFile
from paribus.errors import WeightsError, nearest
from paribus.filenames import is_file, is_folder

Array = npt.NDArray[Any]

RUN = "weights.safetensors"
CONFIG = "config.json"
WHOLE, INDEX, PICKLED = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
MOST_SHARDS = 4096
# What people have under the name of weights, and what makes it more than weights.
PROGRAMS = {
    ".keras": "layers with the names of their classes, which can be anybody's code",
    ".pkl": "a pickle, which is a program",
    ".pickle": "a pickle, which is a program",
    ".joblib": "a pickle, which is a program",
    ".npy": "one array, perhaps of Python objects",
    ".npz": "arrays, perhaps of Python objects",
    ".onnx": "a graph of operations",
    ".pb": "a graph of operations",
    ".tar": "an archive of other files",
    ".zip": "an archive of other files",
}
# How its tensors are had by whoever trusts it.
SAVED = {".keras": "model.save_weights('NAME.weights.h5')"}
# Counters of published state dicts that no arithmetic reads.
COUNTER = ".num_batches_tracked"


def read(given: Path) -> dict[str, Array]:
    """Return canonical tensors of whatever dtype they have; see ``weights.load``.

    Raises:
        WeightsError: no such file, unreadable, or tensors that the architecture does not have.
        BackendMissing: the format needs a framework that is not installed.
    """
    path = located(given)
    if is_folder(path):
        if is_file(path / RUN):
            return _plain(Folder(path).file(RUN))
        folder = Folder(path)
        if folder.has(CONFIG):
            return _published(folder)
        raise nothing(path)
    if not is_file(path):
        raise nothing(path)
    return _plain(path)


def nothing(path: Path) -> WeightsError:
    """Return the error of a path that leads to no weights."""
    why = f": a folder with neither {RUN} nor {CONFIG}" if is_folder(path) else ""
    return WeightsError(f"no weights at {path}{why}; allowed: {formats()}")


def kind(config: Fields) -> str:
    """Return the ``model_type`` of a configuration, if it is one that can be read.

    Raises:
        WeightsError: it is another one, or says that it is a model with another head.
    """
    name = config.text("model_type")
    if name not in KINDS:
        raise WeightsError(
            f"{config.file}: model_type = {name!r} cannot be read; allowed: {', '.join(KINDS)}."
            f"{nearest(name, KINDS)}"
        )
    allowed = KINDS[name].classes
    others = [found for found in config.texts("architectures") if found not in allowed]
    if others:
        raise WeightsError(
            f"{config.file}: is a {others[0]}, whose head paribus does not have; allowed: "
            f"{', '.join(allowed)}"
        )
    return name


def formats() -> str:
    """Return what can be read, for a message."""
    own = ", ".join(foreign.readers())
    return (
        "a run folder, a .safetensors file, a Hugging Face model folder, hub:owner/name, or a "
        f"framework's own ({own})"
    )


def _plain(file: Path) -> dict[str, Array]:
    """Read a file whose names are canonical already."""
    source = _opened(file)
    return {name: source.read(name) for name in source.names if not name.endswith(COUNTER)}


def _opened(file: Path) -> Source:
    suffix = file.suffix.lower()
    if suffix in PROGRAMS:
        saved = SAVED.get(suffix, "safetensors.numpy.save_file(…)")
        raise WeightsError(
            f"{file}: a {suffix} file holds {PROGRAMS[suffix]}, and is not opened; allowed: "
            f"{formats()}. If you trust it, open it with what wrote it, and save its tensors "
            f"alone: {saved}"
        )
    name = foreign.reader(suffix)
    return TensorFile(file) if name is None else foreign.ForeignFile(file, name)


def _published(folder: Folder) -> dict[str, Array]:
    """Read a folder that ``save_pretrained`` wrote, or whose files are like it."""
    names = KINDS[kind(folder.fields(CONFIG))]
    if folder.has(WHOLE):
        return canonical(TensorFile(folder.file(WHOLE)), names, folder.path)
    if folder.has(INDEX):
        return canonical(_shards(folder), names, folder.path)
    if folder.has(PICKLED):
        return canonical(_opened(folder.file(PICKLED)), names, folder.path)
    raise WeightsError(
        f"{folder.path} has a {CONFIG} but no weights that can be read; allowed: {WHOLE}, "
        f"{INDEX} with its shards, {PICKLED}"
    )


def _shards(folder: Folder) -> Shards:
    index = folder.fields(INDEX)
    places = index.inner("weight_map")
    if not places.values:
        raise index.wrong("weight_map", "an object of tensor names and their files")
    shards = {name: places.text(name) for name in places.values}
    files = sorted(set(shards.values()))
    if len(files) > MOST_SHARDS:
        raise WeightsError(f"{index.file}: {len(files)} shards; allowed: up to {MOST_SHARDS}")
    opened = {name: TensorFile(folder.named(name, index.file)) for name in files}
    return Shards(index.file, opened, shards)
