"""A training's tensors in a checkpoint, under one name each; checked before memory is taken.

weights/NAME        canonical weights
slots/SLOT/NAME     optimizer slots
kept/NAME           weights of the best epoch so far

Of trainings that are trained together, those after the first are under ``beside/N/``, N from 1.
What is frozen is often one array that all of them share; it stands in ``weights/NAME`` alone, and
is read from there where another name is not in the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from paribus import weights
from paribus.adapter import Array
from paribus.checkpoints.tensorfile import DTYPES, TensorFile
from paribus.errors import WeightsError
from paribus.learner import Learner
from paribus.position import Position
from paribus.runstate.records import Place
from paribus.stepping import Training

WEIGHTS, SLOTS, KEPT, BESIDE = "weights/", "slots/", "kept/", "beside/"
Shapes = Mapping[str, tuple[int, ...]]


def of_trainings(trainings: Iterable[tuple[Learner, Position]]) -> dict[str, Array]:
    """Return copies of the tensors of trainings under way, by their names in the file.

    Args:
        trainings: each one's session, which has its weights and slots, and where it is.
    """
    found: dict[str, Array] = {}
    for index, (session, at) in enumerate(trainings):
        top, own = _under(index), session.export_weights()
        kept = {} if at.kept is None else at.kept.weights
        for prefix, arrays in ((WEIGHTS, own), (KEPT, kept)):
            for name, array in arrays.items():
                if found.get(WEIGHTS + name) is not array:
                    found[top + prefix + name] = array
        for slot, arrays in session.export_optimizer().items():
            found |= {f"{top}{SLOTS}{slot}/{name}": array for name, array in arrays.items()}
    return found


def restore(
    file: TensorFile, index: int, count: int, place: Place, work: Training
) -> dict[str, Array]:
    """Give a session the tensors of a checkpoint; return the weights of the best epoch.

    The session is one that was opened for the training, so what it exports says what must be there.

    Args:
        file: of the checkpoint.
        index, count: the training's place among those that were trained together, and how many.
        place: where it was.
        work: the training.

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
    top = _under(index)
    shapes = {
        top + name: array.shape
        for name, array in wanted.items()
        if top + name in file.entries or not _stands_first(file, name)
    }
    _require(file, shapes, top, BESIDE if count > 1 and not index else "")
    _require_dtype(file, next(iter(own.values())).dtype, shapes)

    def read(prefix: str, names: Mapping[str, Array]) -> dict[str, Array]:
        places = {name: top + prefix + name for name in names}
        return {
            name: file.read(place if place in file.entries else WEIGHTS + name)
            for name, place in places.items()
        }

    session.import_weights(read(WEIGHTS, own))
    session.import_optimizer(
        {slot: read(f"{SLOTS}{slot}/", found) for slot, found in slots.items()}
    )
    return {} if place.kept is None else read(KEPT, own)


def moved(
    file: TensorFile, index: int, count: int, held: Mapping[str, Array], to: int
) -> dict[str, Array]:
    """Read the tensors of the training number ``index`` of ``count``, named as number ``to``.

    ``held`` are those of the trainings before; what the first of them has, too, is left out.
    """
    top = _under(index)
    found = {
        name.removeprefix(top): file.read(name)
        for name in _names(file, top, BESIDE if count > 1 and not index else "")
    }
    shared = [name.removeprefix(WEIGHTS) for name in file.entries if name.startswith(WEIGHTS)]
    for prefix in (WEIGHTS, KEPT):
        if any(name.startswith(prefix) for name in found):
            for name in shared:
                if prefix + name not in found:
                    found[prefix + name] = file.read(WEIGHTS + name)
                first = held.get(WEIGHTS + name)
                if first is not None and np.array_equal(found[prefix + name], first):
                    del found[prefix + name]
    return {_under(to) + name: array for name, array in found.items()}


def model(file: TensorFile, shapes: Shapes) -> dict[str, Array]:
    """Read the weights of a finished training.

    Raises:
        WeightsError: the file has other tensors or shapes.
    """
    _require(file, shapes)
    return {name: file.read(name) for name in shapes}


def _stands_first(file: TensorFile, name: str) -> bool:
    """Return whether a tensor may be the one that the first training's weights hold."""
    prefix, _, leaf = name.partition("/")
    return prefix + "/" in (WEIGHTS, KEPT) and WEIGHTS + leaf in file.entries


def _under(index: int) -> str:
    """Return where the tensors of the training number ``index`` stand."""
    return f"{BESIDE}{index}/" if index else ""


def _require(file: TensorFile, shapes: Shapes, top: str = "", others: str = "") -> None:
    """Require exactly ``shapes`` under ``top``, whatever is under ``others``."""
    # Of the right shape, and no memory behind it: only shapes are looked at.
    found = {
        name: np.broadcast_to(np.float32(0), file.entries[name].shape)
        for name in _names(file, top, others)
    }
    weights.check(found, shapes, str(file.file))


def _names(file: TensorFile, top: str, others: str) -> list[str]:
    """Return the names of the tensors under ``top`` that are not under ``others``."""
    return [
        name
        for name in file.entries
        if name.startswith(top) and not (others and name.startswith(others))
    ]


def _require_dtype(file: TensorFile, dtype: np.dtype[np.generic], names: Iterable[str]) -> None:
    for name in names:
        entry = file.entries[name]
        if np.dtype(DTYPES[entry.dtype]) != dtype.newbyteorder("<"):
            raise WeightsError(f"{file.file}: {name} is of {entry.dtype}, but the run of {dtype}")
