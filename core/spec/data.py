"""The ``[data]`` section: where examples come from, how they are split and transformed."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from paribus.spec.base import Section

Side = Annotated[int, Field(ge=1, le=8192)]


Width = Annotated[int, Field(ge=4)]
Level = Annotated[int, Field(ge=0, le=255)]


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
    fit: Literal["stretch", "cover"] = Field(
        default="stretch", description="cover: keep the proportions and cut the centre out."
    )
    background: Annotated[tuple[Level, Level, Level], BeforeValidator(_pair)] = Field(
        default=(255, 255, 255), description="[red, green, blue] behind transparent pixels."
    )
    unreadable: Literal["error", "skip"] = Field(
        default="error", description="skip: leave out files that cannot be decoded, and count them."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.fit == "cover" and (self.size is None or self.size[0] != self.size[1]):
            raise ValueError(
                f"fit = 'cover' needs a square size, not {self.size and list(self.size)}; set size "
                "= [n, n], or fit = 'stretch'"
            )
        return self


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
    augment_copies: int | None = Field(
        default=None, ge=1, le=10_000,
        description="Draw crops and flips so many times for good, and use them in turns; none: "
        "anew in each epoch.",
    )  # fmt: skip


class Text(Section):
    """How texts become tokens; for sources of texts."""

    columns: Annotated[list[str], Field(min_length=1, max_length=2)] = Field(
        default=["text"], description="Column of the text, or two for pairs of texts."
    )
    length: int = Field(
        default=128, ge=4, le=1_000_000, description="Tokens of a text at most; the rest is cut."
    )
    widths: Annotated[list[Width], Field(min_length=1, max_length=16)] | None = Field(
        default=None,
        description="Lengths that batches are padded to; none: length, a half and a quarter of it.",
    )

    @field_validator("columns", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """Let one name stand for a list of it."""
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.widths is not None and (
            sorted(set(self.widths)) != self.widths or self.widths[-1] != self.length
        ):
            raise ValueError(
                f"widths = {self.widths} must ascend and end in length = {self.length}"
            )
        return self


class Tokenizer(Section):
    """Where tokens come from: a tokenizer that is given, or one trained on the data's texts."""

    path: str | None = Field(
        default=None, description="A tokenizer.json, or a Hugging Face folder; none: train one."
    )
    kind: Literal["wordpiece", "bpe"] = Field(
        default="wordpiece", description="What is trained: WordPiece, or byte-level BPE."
    )
    vocabulary: int = Field(
        default=8192, ge=300, le=1_000_000, description="Tokens of a trained tokenizer at most."
    )
    lowercase: bool = Field(default=True, description="wordpiece: read capital letters as small.")


TABLES = ("csv", "jsonl", "parquet", "datasets")
TEXTS = (*TABLES, "text")


class Data(Section):
    """Which examples."""

    source: Literal[
        "digits", "fashion_mnist", "npz", "image_folder", "csv", "jsonl", "parquet", "text",
        "datasets",
    ] = "digits"  # fmt: skip
    path: str | None = Field(default=None, description="File or folder; not for digits.")
    label: Annotated[list[str], Field(min_length=1)] = Field(
        default=["label"], description="Column of the class, or of the numbers for regression."
    )
    classes: Annotated[list[int] | list[str], Field(min_length=2)] | None = Field(
        default=None, description="Keep only these classes, relabelled in this order."
    )
    limit: int | None = Field(default=None, ge=2, description="A stratified subset of this size.")
    groups: str | None = Field(
        default=None, description="npz key, or column of a table, of what must not be cut."
    )
    memory: Literal["auto", "load", "stream"] = Field(
        default="auto", description="stream: read examples when they are needed; auto: if large."
    )
    split: Split = Split()
    image: Image = Image()
    transform: Transform = Transform()
    text: Text = Text()
    tokenizer: Tokenizer = Tokenizer()

    @field_validator("label", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """Let one name stand for a list of it."""
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.source not in ("digits", "fashion_mnist") and not self.path:
            raise ValueError(f"source = {self.source!r} needs a path")
        if self.source == "digits" and self.path:
            raise ValueError("source = 'digits' takes no path; it is part of scikit-learn")
        if self.groups is not None and self.source not in ("npz", *TABLES):
            raise ValueError(
                "groups is the key of an array in an .npz file or a table's column; source = "
                f"{self.source!r} has neither"
            )
        if self.image.unreadable == "skip" and self.source != "image_folder":
            raise ValueError(
                "image.unreadable = 'skip' leaves out files of source = 'image_folder'; source = "
                f"{self.source!r} has no files to leave out, so remove the key"
            )
        if self.classes is not None and len(set(self.classes)) < len(self.classes):
            raise ValueError("classes names a class twice")
        return self
