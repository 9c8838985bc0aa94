"""What is believed of a ``result.json``: every value that is used, of its type and within bounds.

A run folder may be anybody's. What a value of it makes paribus do is bounded here: how large a
picture becomes, how many axes an array has, which words choose among what is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from paribus.architectures import ARCHITECTURES, Objective
from paribus.belongings import Interpolation
from paribus.data.resize import MAXIMUM_PIXELS, Fit
from paribus.errors import RunFolderError

Side = Annotated[int, Field(ge=1, le=8192)]
Size = Annotated[int, Field(ge=1, le=2**31 - 1)]
Level = Annotated[int, Field(ge=0, le=255)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Name = Annotated[str, Field(max_length=1000)]


class _Told(BaseModel):
    """A part of a result; what nobody asks for is left alone."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class Header(_Told):
    """What a run's model is opened with."""

    backend: Name
    device: Name
    precision: Name
    numerics: Literal["strict", "fast"]


class _Preprocess(_Told):
    scale: list[Number] = Field(min_length=1, max_length=4096)
    shift: list[Number] = Field(min_length=1, max_length=4096)
    crop: list[Side] | None = Field(min_length=2, max_length=2)
    length: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class Model(_Told):
    """``model``: see ``runmodel``."""

    architecture: Name
    parameters: dict[str, Any]
    input_shape: list[Size] = Field(min_length=1, max_length=3)
    classes: Size
    objective: Objective = "classification"
    class_names: list[Name]
    stored_shape: list[Size] = Field(min_length=1, max_length=3)
    value_range: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    preprocess: _Preprocess
    interpolation: Interpolation | None = None
    background: list[Level] | None = Field(default=None, min_length=3, max_length=3)
    fit: Fit = "stretch"
    columns: list[Name] = Field(default=["text"], min_length=1, max_length=2)


Part = TypeVar("Part", bound=_Told)


def header(result: Mapping[str, Any], file: Path) -> Header:
    """Return what a run's model is opened with.

    Raises:
        RunFolderError: it is not there, or of another kind.
    """
    return _read(Header, result, file, "")


def model(values: Any, file: Path) -> dict[str, Any]:
    """Return a model's values, those that are there; JSON values as before.

    Raises:
        RunFolderError: one is missing, of another kind, or out of bounds.
    """
    found = _read(Model, values, file, "model.")
    size = found.stored_shape
    if len(size) == 3 and size[0] * size[1] > MAXIMUM_PIXELS:
        raise RunFolderError(
            f"{file}: model.stored_shape = {size}: pictures of more than {MAXIMUM_PIXELS} pixels"
        )
    section = ARCHITECTURES.get(found.architecture)
    if section is not None and section.reads != "tokens":
        _require_fitting(found, file)
    told = found.model_dump(exclude_unset=True)
    return {key: value for key, value in told.items() if value is not None}


def _require_fitting(found: Model, file: Path) -> None:
    """Require that examples, as they are preprocessed, are inputs of the network."""
    size, scale, shift = found.stored_shape, found.preprocess.scale, found.preprocess.shift
    if len(scale) != len(shift) or len(scale) not in (1, size[-1]):
        raise RunFolderError(
            f"{file}: model.preprocess has {len(scale)} scales and {len(shift)} shifts; expected "
            f"as many, one or {size[-1]}"
        )
    crop = found.preprocess.crop
    made = [*crop, size[-1]] if crop is not None and len(size) == 3 else size
    if prod(made) != prod(found.input_shape) or any(
        cut > side for cut, side in zip(made, size, strict=True)
    ):
        raise RunFolderError(
            f"{file}: model makes inputs {made} of examples {size}, and its input_shape is "
            f"{found.input_shape}"
        )


def _read(kind: type[Part], values: Any, file: Path, prefix: str) -> Part:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:200]
        raise RunFolderError(
            f"{file}: {prefix}{where}: {first['msg']}; it is not as a run writes it, so its model "
            "cannot be used. Copy the run's folder again"
        ) from error
