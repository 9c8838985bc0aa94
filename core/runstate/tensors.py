"""A training's tensors in a checkpoint, under one name each; checked before memory is taken.

weights/NAME        canonical weights
slots/SLOT/NAME     optimizer slots
kept/NAME           weights of the best epoch so far
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from paribus import weights
from paribus.adapter import Array
from paribus.checkpoints.tensorfile import DTYPES, TensorFile
from paribus.errors import WeightsError
from paribus.learner import Learner
from paribus.position import Position
from paribus.runstate.records import Place
from paribus.runstate.store import TENSORS
from paribus.stepping import Training

WEIGHTS, SLOTS, KEPT = "weights/", "slots/", "kept/"
Shapes = Mapping[str, tuple[int, ...]]


def of_training(session: Learner, at: Position) -> dict[str, Array]:
    """Return copies of the tensors of a training under way, by their names in the file."""
    found = {WEIGHTS + name: array for name, array in session.export_weights().items()}
    for slot, arrays in session.export_optimizer().items():
        found |= {f"{SLOTS}{slot}/{name}": array for name, array in arrays.items()}
    if at.kept is not None:
        found |= {KEPT + name: array for name, array in at.kept.weights.items()}
    return found


def restore(folder: Path, place: Place, work: Training) -> dict[str, Array]:
    """Give a session the tensors of a checkpoint; return the weights of the best epoch.

    The session is one that was opened for the training, so what it exports says what must be there.

    Raises:
        WeightsError: the file has other tensors, shapes or dtypes.
    """
    session = work.session
    own, slots = session.export_weights(), session.export_optimizer()
    wanted = {WEIGHTS + name: array for name, array in own.items()}
    wanted |= {
        f"{SLOTS}{slot}/{n}": array for slot, found in slots.items() for n, array in found.items()
    }
    if place.kept is not None:
        wanted |= {KEPT + name: array for name, array in own.items()}
    file = TensorFile(folder / TENSORS)
    _require(file, {name: array.shape for name, array in wanted.items()})
    _require_dtype(file, next(iter(own.values())).dtype)

    def read(prefix: str, names: Mapping[str, Array]) -> dict[str, Array]:
        return {name: file.read(prefix + name) for name in names}

    session.import_weights(read(WEIGHTS, own))
    session.import_optimizer(
        {slot: read(f"{SLOTS}{slot}/", found) for slot, found in slots.items()}
    )
    return {} if place.kept is None else read(KEPT, own)


def model(file: TensorFile, shapes: Shapes) -> dict[str, Array]:
    """Read the weights of a finished training.

    Raises:
        WeightsError: the file has other tensors or shapes.
    """
    _require(file, shapes)
    return {name: file.read(name) for name in shapes}


def _require(file: TensorFile, shapes: Shapes) -> None:
    # Of the right shape, and no memory behind it: only shapes are looked at.
    found = {name: np.broadcast_to(np.float32(0), e.shape) for name, e in file.entries.items()}
    weights.check(found, shapes, str(file.file))


def _require_dtype(file: TensorFile, dtype: np.dtype[np.generic]) -> None:
    for name, entry in file.entries.items():
        if np.dtype(DTYPES[entry.dtype]) != dtype.newbyteorder("<"):
            raise WeightsError(f"{file.file}: {name} is of {entry.dtype}, but the run of {dtype}")
