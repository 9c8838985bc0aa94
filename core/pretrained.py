"""What a checkpoint says about itself, from its small files: no tensor is read.

A file of weights alone says nothing: its architecture has to be named, and its preprocessing is
then the published one. A folder says more: which network, which pictures or tokens it wants, and
what its classes are called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from paribus.architectures import ARCHITECTURES, Objective
from paribus.architectures.published import KERAS, PUBLISHED
from paribus.belongings import ImageProcessing, Interpolation, of_run
from paribus.checkpoints import configurations, reading
from paribus.checkpoints.fields import Fields
from paribus.checkpoints.folder import Folder
from paribus.checkpoints.hub import located
from paribus.checkpoints.processing import image_processing
from paribus.checkpoints.sentences import pooling
from paribus.data.resize import Fit
from paribus.errors import SpecError, WeightsError, nearest
from paribus.filenames import is_file, is_folder
from paribus.runfiles import RESULT

TOKENIZER = "tokenizer.json"
KERAS_SUFFIX = ".h5"


@dataclass(frozen=True)
class Pretrained:
    """A checkpoint without its tensors.

    Attributes:
        path: of its files on this machine; ``weights.load`` reads the tensors.
        model: as much of a spec's ``[model]`` section as it says: ``architecture`` with its sizes;
            empty where it says nothing.
        objective: what it was trained for; None where it does not say, or for a body without head.
        classes: outputs of its head; None where it does not say.
        input_shape: (channels, height, width) as far as it says; empty where it does not.
        image: what makes a picture its input; None for other inputs, and where it does not say.
        tokenizer: its tokenizer.json; None for other inputs, and where it has none.
        class_names: by class number; empty where the classes are only numbered.
    """

    path: Path
    model: Mapping[str, Any] = field(default_factory=dict)
    objective: Objective | None = None
    classes: int | None = None
    input_shape: tuple[int, ...] = ()
    image: ImageProcessing | None = None
    tokenizer: Path | None = None
    class_names: tuple[str, ...] = ()

    @property
    def architecture(self) -> str | None:
        """The architecture's name, where it is known."""
        return self.model.get("architecture")

    @property
    def reads_tokens(self) -> bool:
        """Whether it is a model of texts."""
        name = self.architecture
        return name is not None and ARCHITECTURES[name].reads == "tokens"


def describe(path: str | Path, architecture: str | None = None) -> Pretrained:
    """Describe a checkpoint by its small files.

    Args:
        path: what ``weights.load`` reads; ``hub:owner/name`` is downloaded.
        architecture: what it is, where it does not say so itself.

    Raises:
        WeightsError: no such checkpoint, or it is a model that paribus does not have; the message
            has the file and the key.
        SpecError: ``architecture`` is unknown, or not what the checkpoint says it is.
    """
    if architecture is not None and architecture not in ARCHITECTURES:
        raise SpecError(
            f"architecture {architecture!r}: unknown; allowed: {', '.join(ARCHITECTURES)}."
            f"{nearest(architecture, ARCHITECTURES)}"
        )
    place = located(Path(path))
    if is_folder(place):
        folder = Folder(place)
        if folder.has(reading.RUN):
            found = _run(folder) if folder.has(RESULT) else _named(place, architecture)
        elif folder.has(reading.CONFIG):
            found = _published(folder)
        else:
            raise reading.nothing(place)
    elif is_file(place):
        found = _named(place, architecture)
    else:
        raise reading.nothing(place)
    if architecture is not None and found.architecture != architecture:
        raise SpecError(
            f"architecture {architecture!r}: {place} says that it is {found.architecture!r}; leave "
            "the architecture out"
        )
    return found


def _named(path: Path, architecture: str | None) -> Pretrained:
    """Describe a file that says nothing about itself."""
    keras = path.suffix.lower() == KERAS_SUFFIX
    if keras and architecture is not None and architecture not in KERAS:
        raise SpecError(
            f"architecture {architecture!r}: {path} is a file of Keras, which is read for "
            f"{' and '.join(KERAS)}"
        )
    if architecture is None:
        return Pretrained(path)
    known = KERAS if keras else PUBLISHED
    return Pretrained(path, {"architecture": architecture}, image=known.get(architecture))


def _published(folder: Folder) -> Pretrained:
    """Describe a folder that transformers saved, or one like it."""
    config = folder.fields(reading.CONFIG)
    kind = reading.kind(config)
    model = configurations.model_section(config, kind)
    objective = configurations.objective(config)
    headed = objective in ("classification", "regression")
    tokens = ARCHITECTURES[model["architecture"]].reads == "tokens"
    if model["architecture"] == "bert" and (pooled := pooling(folder)) is not None:
        model["pooling"] = pooled
    shape = configurations.input_shape(config, kind)
    image = image_processing(folder, kind) if not tokens and len(shape) in (1, 3) else None
    if image is not None:
        shape = _fitting(shape, image, folder.path)
    return Pretrained(
        folder.path,
        model,
        objective,
        configurations.classes(config) if headed else None,
        shape,
        image,
        folder.file(TOKENIZER) if tokens and folder.has(TOKENIZER) else None,
        configurations.class_names(config) if objective == "classification" else (),
    )


def _fitting(shape: tuple[int, ...], image: ImageProcessing, folder: Path) -> tuple[int, ...]:
    """Return the shape of an input, which the preprocessing must make."""
    made = (len(image.mean), *image.crop)
    if made[: len(shape)] != shape:
        raise WeightsError(
            f"{folder}: the preprocessing makes inputs of (channels, height, width) = {made}, but "
            f"the configuration says {shape}"
        )
    return made


def _run(folder: Folder) -> Pretrained:
    """Describe the model of a run folder."""
    result = folder.fields(RESULT)
    if "model" not in result:
        raise result.wrong("model", "the description of a model: a run that trained one")
    stored = result.inner("model")
    name = stored.text("architecture")
    if name not in ARCHITECTURES:
        raise stored.wrong("architecture", f"one of {', '.join(ARCHITECTURES)}")
    model = configurations.checked({**stored.inner("parameters").values, "architecture": name},
                                   result.file)  # fmt: skip
    objectives = {objective: objective for objective in get_args(Objective)}
    return Pretrained(
        folder.path,
        model,
        stored.only("objective", objectives, "classification"),
        stored.integer("classes"),
        stored.integers("input_shape"),
        _stored_image(stored),
        folder.file(TOKENIZER) if folder.has(TOKENIZER) else None,
        tuple(stored.texts("class_names")),
    )


def _stored_image(stored: Fields) -> ImageProcessing | None:
    shape = stored.integers("stored_shape")
    if len(shape) != 3 or shape[2] not in (1, 3) or "interpolation" not in stored:
        return None
    preprocess = stored.inner("preprocess")
    scale, shift = preprocess.numbers("scale", ()), preprocess.numbers("shift", ())
    if len(scale) != len(shift) or len(scale) not in (1, shape[2]) or min(scale) <= 0:
        raise preprocess.wrong("scale", "a number above 0 for each channel, and as many shifts")
    crop = preprocess.integers("crop") if "crop" in preprocess else ()
    if len(crop) not in (0, 2):
        raise preprocess.wrong("crop", "a height and a width")
    white = stored.number("value_range")
    if white <= 0:
        raise stored.wrong("value_range", "a number above 0")
    known, fits = ({n: n for n in get_args(names)} for names in (Interpolation, Fit))
    checked = {
        "class_names": (),
        "stored_shape": shape,
        "value_range": white,
        "interpolation": stored.only("interpolation", known, None),
        "fit": stored.only("fit", fits, "stretch"),
        "preprocess": {"scale": list(scale), "shift": list(shift), "crop": crop or None},
    }
    return of_run(checked).image
