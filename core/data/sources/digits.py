"""scikit-learn's digits: 1797 images of 8×8, ten classes; in the package, so nothing to download.

The pixels count ink from 0 to 16, hence the value range. The set has no test set of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from paribus.architectures import Objective
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
    # Imported here so that `import paribus` stays fast.
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = np.asarray(bunch.images).astype(np.uint8)[..., np.newaxis]
    y = np.asarray(bunch.target, dtype=np.int64)
    names = tuple(str(digit) for digit in range(10))
    return Source("scikit-learn's digits", y, names, INK, reader(x))
