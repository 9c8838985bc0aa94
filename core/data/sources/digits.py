"""scikit-learn's digits: 1797 images of 8×8, ten classes; in the package, so nothing to download.

The pixels count ink from 0 to 16, hence the value range. The set has no test set of its own.

Importing scikit-learn takes a second or two, most of the time of a small run, and nothing of it is
needed but its file: a line for each image, 64 pixels and the digit. Where the file is not (in an
archive, or elsewhere in another version) scikit-learn is asked.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paribus.architectures import Objective
from paribus.data.dataset import Array, Integers
from paribus.data.source import Source, reader, require_objective
from paribus.errors import SpecError

if TYPE_CHECKING:
    from paribus.spec.data import Data

INK = 16.0


def find(section: Data, objective: Objective) -> Source:
    """Return the digits; uint8 [1797, 8, 8, 1], values 0 … 16."""
    require_objective(section.source, objective, "classification")
    if section.path is not None:
        raise SpecError(
            f"data.path = {section.path!r}: the digits are part of scikit-learn and have no path; "
            "remove the key, or set data.source to 'npz' or 'image_folder'"
        )
    path = _file()
    x, y = _asked() if path is None else _read(path)
    names = tuple(str(digit) for digit in range(10))
    return Source("scikit-learn's digits", y, names, INK, reader(x))


def _file() -> Path | None:
    """Return scikit-learn's own file of the digits; None if it is not where it is expected."""
    found = find_spec("sklearn")
    for place in (found and found.submodule_search_locations) or ():
        path = Path(place, "datasets", "data", "digits.csv.gz")
        if path.is_file():
            return path
    return None


def _read(path: Path) -> tuple[Array, Integers]:
    """Return images uint8 [N, 8, 8, 1] and digits int64 [N]."""
    rows = np.loadtxt(path, dtype=np.uint8, delimiter=",")
    return np.ascontiguousarray(rows[:, :-1]).reshape(-1, 8, 8, 1), rows[:, -1].astype(np.int64)


def _asked() -> tuple[Array, Integers]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return (
        np.asarray(bunch.images).astype(np.uint8)[..., np.newaxis],
        np.asarray(bunch.target, dtype=np.int64),
    )
