"""The experiment spec as sections: every key, its default and its allowed values.

Defaults are written out here and only here, so that a resolved spec states every value and no
adapter falls back on its framework's own. Sections are frozen: a candidate or a trial is a new
spec with a patch applied (``paribus.spec.variant``), never a changed one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from paribus.architectures import LANGUAGE, ModelSection
from paribus.architectures.cnn import CNN
from paribus.errors import SpecError
from paribus.measures import validate
from paribus.spec.base import Section
from paribus.spec.caching import Cache
from paribus.spec.choosing import VARIABLE, Candidate, Optimize, Range, Select
from paribus.spec.data import TEXTS, Data
from paribus.spec.native import Native
from paribus.spec.resuming import Checkpoints
from paribus.spec.training import FineTune, PreTrain
from paribus.tolerances import TOLERANCE

StepName = Literal["pretrain", "select", "optimize", "finetune"]
STEPS: tuple[StepName, ...] = ("pretrain", "select", "optimize", "finetune")
SELECTION_STEPS: tuple[StepName, ...] = ("select", "optimize")
TRAINING_STEPS: tuple[StepName, ...] = ("pretrain", "finetune")


class Spec(Section):
    """One experiment: data, model, and the steps that it wants, in order."""

    name: str = Field(default="experiment", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)
    seed: int = Field(default=0, ge=0, lt=2**63)
    backend: str = Field(default="auto", description="An installed backend; auto: the first one.")
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="auto, cpu, cuda, cuda:N or mps.",
    )  # fmt: skip
    precision: Literal["float32", "float64", "bfloat16"] = "float32"
    numerics: Literal["strict", "fast"] = "strict"
    tolerance: float = Field(
        default=TOLERANCE, ge=0, le=1,
        description="With numerics = fast: how far, relative to its norm, a step's gradient may be "
        "from that of strict numerics; of losses and outputs a tenth.",
    )  # fmt: skip
    dropout_masks: Literal["portable", "native"] = Field(
        default="portable",
        description="What is dropped: portable: the same on every backend; native: as the "
        "framework's own generator says, with numerics = fast.",
    )
    batched_trainings: bool = Field(
        default=True,
        description="Make the small trainings of select and optimize together where they have the "
        "same shape; false: one after another.",
    )
    steps: list[StepName] = Field(
        min_length=1, description="What runs, in order; by default the sections that are given."
    )
    evaluate_test: bool = Field(
        default=True, description="Touch the test set, once, after the last step."
    )
    checkpoint: str | None = Field(
        default=None,
        description="A published checkpoint: its sizes, tokenizer, preprocessing and weights.",
    )
    checkpoints: Checkpoints = Checkpoints()
    cache: Cache = Cache()
    data: Data = Data()
    model: ModelSection = CNN()
    native: Native | None = Field(
        default=None, description="Models of your own, by backend, instead of [model]."
    )
    pretrain: PreTrain = PreTrain()
    select: Select | None = None
    optimize: Optimize | None = None
    finetune: FineTune = FineTune()

    @model_validator(mode="before")
    @classmethod
    def _named_steps(cls, value: Any) -> Any:
        """Default ``steps`` to the sections that are given, in canonical order."""
        if isinstance(value, Mapping) and "steps" not in value:
            given = [step for step in STEPS if value.get(step) is not None]
            return {**value, "steps": given or ["finetune"]}
        return value

    @model_validator(mode="before")
    @classmethod
    def _one_model(cls, value: Any) -> Any:
        """Refuse two answers to the question which model is meant."""
        if isinstance(value, Mapping) and value.get("native") not in (None, "none"):
            for other in ("model", "checkpoint"):
                if value.get(other) not in (None, "none"):
                    raise ValueError(
                        f"[native] and {other} exclude each other: the model is your own code, or "
                        "an architecture of paribus; leave one of them out"
                    )
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.steps)) < len(self.steps):
            raise ValueError(f"steps = {self.steps}: a step is named twice")
        for step in SELECTION_STEPS:
            if step in self.steps and getattr(self, step) is None:
                raise ValueError(f"steps names {step!r}, but there is no [{step}] section")
        if self.steps[-1] == "pretrain" and "finetune" in self.steps:
            raise ValueError("steps: 'pretrain' after 'finetune' would be thrown away")
        if "finetune" in self.steps and self.steps[-1] != "finetune":
            raise ValueError(
                f"steps: 'finetune' is followed by {self.steps[-1]!r}, whose choice would have "
                "no effect; put 'finetune' last"
            )
        if self.dropout_masks == "native" and self.numerics != "fast":
            raise ValueError(
                "dropout_masks = 'native' drops other values on every backend, which "
                f"numerics = {self.numerics!r} excludes; set numerics = 'fast', or leave "
                "dropout_masks = 'portable'"
            )
        self._validation_rows()
        self._objectives()
        if self.native is not None:
            self._of_their_own()
        tested = self.evaluate_test and any(step in TRAINING_STEPS for step in self.steps)
        if tested and self.data.split.test == 0:
            raise ValueError(
                "data.split.test = 0 leaves the test set empty; give it a share, or set "
                "evaluate_test = false"
            )
        return self

    def _validation_rows(self) -> None:
        """Refuse what would look at validation rows where there are none."""
        for step in TRAINING_STEPS:
            recipe = self.recipe(step)
            rows = (self.pretrain.data or self.data) if step == "pretrain" else self.data
            if step in self.steps and rows.split.validation == 0:
                if recipe.keep == "best":
                    raise ValueError(
                        f"{step}.keep = 'best' needs validation rows, but data.split.validation "
                        "= 0; give it a share, or set keep = 'last'"
                    )
                if recipe.early_stopping is not None:
                    raise ValueError(
                        f"{step}.early_stopping needs validation rows, but "
                        "data.split.validation = 0"
                    )
        if (
            "optimize" in self.steps
            and self.optimize is not None
            and self.optimize.folds == 0
            and self.data.split.validation == 0
        ):
            raise ValueError(
                "optimize judges trials on validation rows, but data.split.validation = 0; "
                "give it a share, or set optimize.folds"
            )

    def _objectives(self) -> None:
        """Refuse metrics that say nothing about what is learned, and words without texts."""
        for section in (self.select, self.optimize):
            if section is not None:
                try:
                    validate([section.metric], self.recipe(section.step).objective)
                except SpecError as error:
                    name = "select" if section is self.select else "optimize"
                    raise ValueError(f"{name}.metric: {error}") from error
        for step in TRAINING_STEPS:
            objective = self.recipe(step).objective
            data = (self.pretrain.data or self.data) if step == "pretrain" else self.data
            if step in self.steps and objective in LANGUAGE and data.source not in TEXTS:
                raise ValueError(
                    f"{step}.objective = {objective!r} needs texts, but data.source = "
                    f"{data.source!r}; allowed: {', '.join(TEXTS)}"
                )

    def _of_their_own(self) -> None:
        """Refuse what needs an architecture that paribus knows."""
        if self.finetune.freeze != "none":
            raise ValueError(
                f"finetune.freeze = {self.finetune.freeze!r}: models of your own have no stages "
                "that paribus knows; freeze in the builder, and leave freeze out"
            )
        for step in TRAINING_STEPS:
            data = (self.pretrain.data or self.data) if step == "pretrain" else self.data
            if step in self.steps and data.source in TEXTS:
                raise ValueError(
                    f"[native] with data.source = {data.source!r}: models of your own read images "
                    "or tables, not texts"
                )
            if self.recipe(step).weights == "checkpoint":
                raise ValueError(
                    f"{step}.weights = 'checkpoint': a spec with [native] has no checkpoint; give "
                    "a file of weights with the canonical names"
                )

    def recipe(self, step: str) -> PreTrain | FineTune:
        """Return the training recipe of ``pretrain`` or ``finetune``."""
        return self.pretrain if step == "pretrain" else self.finetune


__all__ = ["STEPS", "VARIABLE", "Candidate", "Optimize", "Range", "Select", "Spec"]
