"""A run's model as its folder keeps it: what is written at its end, and read again for its use.

result.json "model"    the five values that rebuild the network, names, and how examples are read
tokenizer.json         the tokenizer of a run on texts
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy.typing as npt
from pydantic import ValidationError

from paribus import architectures
from paribus.architectures import Network
from paribus.belongings import Belongings, of_run
from paribus.checkpoints.folder import Folder
from paribus.data import Dataset, pictures
from paribus.data.tokenizer_files import text
from paribus.errors import DataError, RunError, RunFolderError, WeightsError
from paribus.plan import Preprocess
from paribus.readers import Pictures, Reader, Rows, Texts
from paribus.runfiles import RESULT, TOKENIZER
from paribus.steps.experiment import Model


def describe_model(model: Model, examples: Dataset) -> dict[str, Any]:
    """Return what ``StoredModel`` needs, as JSON values."""
    network, preprocess = model.network, model.judge.inputs.preprocess
    section = model.data.section
    found = {
        "architecture": network.architecture,
        "parameters": dict(network.parameters),
        "input_shape": list(network.input_shape),
        "classes": network.classes,
        "objective": network.objective,
        "class_names": list(examples.class_names),
        "stored_shape": list(examples.x.shape[1:]),
        "value_range": examples.value_range,
        "preprocess": {
            "scale": list(preprocess.scale),
            "shift": list(preprocess.shift),
            "crop": None if preprocess.crop is None else list(preprocess.crop),
            "length": preprocess.length,
        },
    }
    if examples.tokens is not None:
        return found | {"columns": list(section.text.columns)}
    if examples.stored_size is not None:
        image = section.image
        found |= {"interpolation": image.interpolation, "background": list(image.background),
                  "fit": image.fit}  # fmt: skip
    return found


@dataclass(frozen=True)
class StoredModel:
    """A trained model without its weights.

    Attributes:
        folder: of the run.
        values: ``model`` of its ``result.json``.
    """

    folder: Path
    values: Mapping[str, Any]

    @cached_property
    def network(self) -> Network:
        """The network, rebuilt."""
        values = self.values
        try:
            return architectures.build(
                values["architecture"],
                values["parameters"],
                tuple(values["input_shape"]),
                int(values["classes"]),
                values.get("objective", "classification"),
            )
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise RunFolderError(
                f"{self.folder / RESULT}: model describes no network that paribus has: "
                f"{'.'.join(str(part) for part in first['loc'])[:200]}: {first['msg']}"
            ) from error

    @property
    def preprocess(self) -> Preprocess:
        """How stored examples become inputs."""
        stored = self.values["preprocess"]
        crop = stored["crop"]
        return Preprocess(
            tuple(stored["scale"]),
            tuple(stored["shift"]),
            None if crop is None else tuple(crop),
            stored.get("length"),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes by label, or of the numbers of regression; none for languages."""
        return tuple(self.values["class_names"])

    @cached_property
    def tokenizer(self) -> str | None:
        """The JSON of the tokenizer; None for other data than texts.

        Raises:
            RunFolderError: it is gone from the folder.
        """
        if not self.network.reads_tokens:
            return None
        path = self.folder / TOKENIZER
        try:
            return text(Folder(self.folder).file(TOKENIZER))
        except (WeightsError, DataError) as error:
            raise RunFolderError(f"{path} is not readable: {error}; the run needs it") from error

    @cached_property
    def reader(self) -> Reader:
        """How what people ask becomes examples."""
        stored = tuple(self.values["stored_shape"])
        if self.tokenizer is not None:
            length = self.network.input_shape[0]
            return Texts(self.tokenizer, length, self.values.get("columns", ["text"]))
        return Pictures(self._decoded, stored) if len(stored) == 3 else Rows(*stored)

    @property
    def belongings(self) -> Belongings:
        """What goes with the model when it leaves the run."""
        known = of_run(self.values)
        if self.tokenizer is None:
            return known
        return replace(known, tokenizer=self.tokenizer, length=self.network.input_shape[0])

    def _decoded(self, paths: Sequence[Path]) -> npt.NDArray[Any]:
        if "background" not in self.values:
            raise RunError(
                f"{self.folder} was written by an earlier paribus, which did not keep how images "
                "are read; run its spec.toml again"
            )
        height, width, channels = self.values["stored_shape"]
        red, green, blue = self.values["background"]
        x = pictures.fitted(
            paths,
            (height, width),
            channels,
            self.values["interpolation"],
            (red, green, blue),
            self.values.get("fit", "stretch"),
        )
        white = float(self.values["value_range"])
        return x if white == 255 else x * (white / 255)
