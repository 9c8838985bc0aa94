"""Fashion-MNIST (Xiao, Rasul, Vollgraf 2017) from its four idx files: 70 000 images of clothes.

The files are where the user says, or where Debian's package puts them. Training rows come first,
the 10 000 given test rows last.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from paribus.architectures import Objective
from paribus.data.source import Source, reader, require_objective
from paribus.data.sources import idx
from paribus.errors import DataError
from paribus.filenames import is_file, is_folder

if TYPE_CHECKING:
    from paribus.spec.data import Data

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
CLASS_NAMES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
               "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")  # fmt: skip
_SIDE = 28


def find(section: Data, objective: Objective) -> Source:
    """Return the images; uint8 [N, 28, 28, 1], values 0 … 255, and the given test rows."""
    require_objective(section.source, objective, "classification")
    folder = Path(section.path).expanduser() if section.path is not None else DEBIAN
    if not is_folder(folder):
        raise DataError(
            f"data.source = 'fashion_mnist': there is no folder {folder}. Install the files with "
            "`apt-get install dataset-fashion-mnist` (Debian, Ubuntu), or set data.path to the "
            "folder that holds the four idx files"
        )
    images, labels = [], []
    for part in ("train", "t10k"):
        x_path = _file(folder, f"{part}-images-idx3-ubyte")
        y_path = _file(folder, f"{part}-labels-idx1-ubyte")
        x = idx.read(x_path, (None, _SIDE, _SIDE))
        y = idx.read(y_path, (None,))
        if len(x) != len(y) or len(x) == 0:
            raise DataError(
                f"{x_path} has {len(x)} images and {y_path} has {len(y)} labels; they must be "
                "equal and not 0"
            )
        if y.max() >= len(CLASS_NAMES):
            raise DataError(f"{y_path}: label {y.max()} in row {y.argmax()}; allowed: 0 to 9")
        images.append(x)
        labels.append(y)
    pixels = np.concatenate(images)[..., np.newaxis]
    classes = np.concatenate(labels).astype(np.int64)
    test = np.arange(len(images[0]), len(pixels), dtype=np.int64)
    return Source(str(folder), classes, CLASS_NAMES, 255.0, reader(pixels), given_test=test)


def _file(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if is_file(path):
            return path
    raise DataError(
        f"{folder}: neither {name} nor {name}.gz is there; data.path must be the folder that holds "
        "the four idx files of Fashion-MNIST (`apt-get install dataset-fashion-mnist` has them)"
    )
