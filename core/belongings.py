"""What a model needs beside its weights before anybody can use it, in no framework's terms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]


@dataclass(frozen=True)
class ImageProcessing:
    """From a picture of any size to a network's input, channels in the order red, green, blue.

    The picture is resized with antialiasing: its shorter side to ``resize`` if that is one number,
    or to (height, width). Then ``crop`` (height, width) is cut out of the centre, and each channel
    normalised: (value / 255 − mean) / std. One mean and std mean that the picture is made grey.
    Where half a pixel is left over, the window's corner is rounded ``down``, as in a run and by
    transformers, or to the ``even`` side, as by torchvision.
    """

    resize: int | tuple[int, int]
    crop: tuple[int, int]
    interpolation: Interpolation
    mean: tuple[float, ...]
    std: tuple[float, ...]
    half: Literal["down", "even"] = "down"


@dataclass(frozen=True)
class Belongings:
    """What goes with a model.

    Attributes:
        class_names: by class number; empty where there are none.
        image: None for models of texts and tables.
        tokenizer: the JSON text of a ``tokenizer.json``; None for models of images and tables.
        length: tokens of the longest text.
    """

    class_names: tuple[str, ...] = ()
    image: ImageProcessing | None = None
    tokenizer: str | None = None
    length: int | None = None


NOTHING = Belongings()


def of_run(model: Mapping[str, Any]) -> Belongings:
    """Return what goes with a run's model, from ``model`` in its ``result.json``."""
    return Belongings(class_names=tuple(model["class_names"]), image=_image(model))


def _image(model: Mapping[str, Any]) -> ImageProcessing | None:
    # Runs of an earlier paribus did not keep how images are read.
    if len(model["stored_shape"]) != 3 or "interpolation" not in model:
        return None
    height, width, channels = model["stored_shape"]
    preprocess, white = model["preprocess"], float(model["value_range"])

    def each(values: list[float]) -> list[float]:
        return values * channels if len(values) == 1 else values

    scale, shift = each(preprocess["scale"]), each(preprocess["shift"])
    covers = model.get("fit") == "cover"
    # value · scale − shift in stored units is (value / white − mean) / std.
    return ImageProcessing(
        resize=height if covers else (height, width),
        crop=tuple(preprocess["crop"] or (height, width)),
        interpolation=model["interpolation"],
        mean=tuple(b / (a * white) for a, b in zip(scale, shift, strict=True)),
        std=tuple(1 / (a * white) for a in scale),
        half="even" if covers else "down",
    )


CLASSES, PREPROCESSING, TOKENIZER = "classes.txt", "preprocessing.json", "tokenizer.json"


def write(folder: Path, given: Belongings) -> None:
    """Write what goes with a model into a folder, in no framework's terms.

    ``classes.txt`` has a name a line; ``preprocessing.json`` the fields of ``ImageProcessing``;
    ``tokenizer.json`` is left alone where a framework has written it.

    Raises:
        OSError: the folder cannot be written.
    """
    texts = {}
    if given.class_names:
        # A name is one line, whatever spaces it has.
        texts[CLASSES] = "".join(" ".join(name.split()) + "\n" for name in given.class_names)
    if given.image is not None:
        texts[PREPROCESSING] = json.dumps(asdict(given.image), indent=2) + "\n"
    if given.tokenizer is not None and not (folder / TOKENIZER).exists():
        texts[TOKENIZER] = given.tokenizer
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
