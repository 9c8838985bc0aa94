"""The ``[data]`` section: where examples come from, how they are split and transformed."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from paribus.spec.base import Section

Side = Annotated[int, Field(ge=1, le=8192)]


def _pair(value: Any) -> Any:
    """Let a list stand for a tuple: no format of a spec has tuples."""
    return tuple(value) if isinstance(value, list) else value


class Split(Section):
    """Shares of all examples; the rest trains."""

    validation: float = Field(default=0.15, ge=0, lt=1)
    test: Annotated[float, Field(ge=0, lt=1)] | Literal["given", "auto"] = Field(
        default="auto",
        description="A share, 'given' (the source's own test set), or 'auto': given, else 0.2.",
    )
    stratify: bool = Field(default=True, description="Keep each class's share in every part.")
    seed: int | None = Field(default=None, ge=0, description="By default the experiment's seed.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        test = self.test if isinstance(self.test, float) else 0.0
        if self.validation + test >= 1:
            raise ValueError(
                f"validation + test = {self.validation + test:g} leaves nothing to train on"
            )
        return self


class Image(Section):
    """How images are decoded; done once, in core, the same for every backend."""

    size: Annotated[tuple[Side, Side], BeforeValidator(_pair)] | None = Field(
        default=None, description="[height, width] to resize to; required if they differ."
    )
    channels: Literal[1, 3] | None = Field(default=None, description="1: grey, 3: RGB.")
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"


class MeanStd(Section):
    """Explicit normalisation, per channel, in units where the largest stored value is 1."""

    mean: list[float] = Field(min_length=1)
    std: list[Annotated[float, Field(gt=0)]] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.mean) != len(self.std):
            raise ValueError(f"mean has {len(self.mean)} values and std {len(self.std)}")
        return self


class Transform(Section):
    """From stored examples to network inputs, on the device, with draws from core."""

    normalize: Literal["unit", "train", "imagenet"] | MeanStd = Field(
        default="unit",
        description="unit: to [0, 1]; train: mean 0, std 1 over the training rows; "
        "imagenet: the published constants; or a table {mean, std}.",
    )
    crop: int | None = Field(default=None, ge=1, le=8192, description="Side of a square crop.")
    pad: int = Field(default=0, ge=0, le=1024, description="Zero padding before a random crop.")
    horizontal_flip: bool = Field(default=False, description="With probability ½, in training.")
    vertical_flip: bool = Field(default=False, description="With probability ½, in training.")


class Data(Section):
    """Which examples."""

    source: Literal["digits", "fashion_mnist", "npz", "image_folder"] = "digits"
    path: str | None = Field(default=None, description="File or folder; not for digits.")
    classes: Annotated[list[int] | list[str], Field(min_length=2)] | None = Field(
        default=None, description="Keep only these classes, relabelled in this order."
    )
    limit: int | None = Field(default=None, ge=2, description="A stratified subset of this size.")
    groups: str | None = Field(default=None, description="npz key of group numbers.")
    split: Split = Split()
    image: Image = Image()
    transform: Transform = Transform()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.source in ("npz", "image_folder") and not self.path:
            raise ValueError(f"source = {self.source!r} needs a path")
        if self.source == "digits" and self.path:
            raise ValueError("source = 'digits' takes no path; it is part of scikit-learn")
        if self.groups is not None and self.source != "npz":
            raise ValueError("groups is the key of an array in an .npz file; source is not 'npz'")
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise ValueError("classes names a class twice")
        return self
