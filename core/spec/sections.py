"""The experiment spec as sections: every key, its default and its allowed values.

Defaults are written out here and only here, so that a resolved spec states every value and no
adapter falls back on its framework's own. Sections are frozen: a candidate or a trial is a new
spec with a patch applied (``paribus.spec.variant``), never a changed one.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from paribus.architectures import LANGUAGE, ModelSection
from paribus.architectures.cnn import CNN
from paribus.errors import SpecError
from paribus.measures import validate
from paribus.spec.base import Section
from paribus.spec.data import TEXTS, Data
from paribus.spec.native import Native
from paribus.spec.resuming import Checkpoints
from paribus.spec.training import FineTune, Metric, PreTrain
from paribus.tolerances import TOLERANCE

StepName = Literal["pretrain", "select", "optimize", "finetune"]
STEPS: tuple[StepName, ...] = ("pretrain", "select", "optimize", "finetune")
SELECTION_STEPS: tuple[StepName, ...] = ("select", "optimize")
TRAINING_STEPS: tuple[StepName, ...] = ("pretrain", "finetune")

# What a candidate or a trial may differ in; the rest stays equal for all of them.
VARIABLE = (
    "model", "checkpoint", "pretrain", "finetune", "data.transform", "data.image", "data.text",
    "data.tokenizer",
)  # fmt: skip


class Candidate(Section, extra="allow"):
    """One model to compare: a name, and any part of the spec that differs for it.

    Beside ``name`` it takes the tables in ``VARIABLE``, for example ``model`` or ``finetune``.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]*$", max_length=64)

    @property
    def patch(self) -> dict[str, Any]:
        """The partial spec of this candidate."""
        return dict(self.model_extra or {})


class Select(Section):
    """Cross-validation of candidates on the development rows (training and validation)."""

    step: Literal["pretrain", "finetune"] = Field(
        default="finetune", description="Whose recipe trains the candidates."
    )
    scheme: Literal["auto", "stratified", "kfold", "grouped", "holdout"] = Field(
        default="auto",
        description="auto: grouped where there are groups, stratified for classes, else kfold.",
    )
    folds: int = Field(default=5, ge=2, le=1000, description="Parts per repeat; not for holdout.")
    repeats: int = Field(default=1, ge=1, le=100)
    validation: float = Field(
        default=0.2, gt=0, lt=1, description="Share of the development rows held out by holdout."
    )
    metric: Metric = Field(default="loss", description="Validation metric that decides.")
    rule: Literal["best", "one-standard-error"] = Field(
        default="best",
        description="best mean, or the fewest parameters within one standard error of it.",
    )
    epochs: int | None = Field(default=None, ge=1, description="Overrides the recipe's epochs.")
    candidates: list[Candidate] = Field(min_length=1, max_length=10000)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [candidate.name for candidate in self.candidates]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two candidates are called {twice[0]!r}; names must differ")
        if self.rule == "one-standard-error" and self.scheme == "holdout" and self.repeats < 2:
            raise ValueError(
                "rule = 'one-standard-error' needs at least two validation results per candidate; "
                "use folds, or repeats = 2 or more with scheme = 'holdout'"
            )
        return self


class Range(Section):
    """A numeric search range; whole numbers where ``low`` and ``high`` are whole numbers."""

    low: int | float
    high: int | float
    log: bool = Field(default=False, description="Draw uniformly in the logarithm.")
    step: int | float | None = Field(default=None, gt=0, description="Spacing; required by grid.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low = {self.low} is above high = {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log = true needs low > 0, not {self.low}")
        if self.log and self.step is not None:
            raise ValueError("log = true and step exclude each other")
        if self.step is not None:
            if self.whole and not isinstance(self.step, int):
                raise ValueError(f"step = {self.step} must be a whole number, as low and high are")
            steps = (self.high - self.low) / self.step
            if abs(steps - round(steps)) > 1e-9 * max(1.0, steps):
                raise ValueError(
                    f"step = {self.step} does not lead from low = {self.low} to high = "
                    f"{self.high}; choose a step that does"
                )
        return self

    @property
    def whole(self) -> bool:
        """Whether values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def points(self) -> list[int | float]:
        """Return the values from ``low`` to ``high`` by ``step`` (1 where it is not given)."""
        step = self.step or 1
        count = round((self.high - self.low) / step) + 1
        return [self.low + index * step for index in range(count)]


Choices = Annotated[list[Any], Field(min_length=1)]


class Optimize(Section):
    """A search over spec keys, judged on validation rows; losers are stopped early."""

    step: Literal["pretrain", "finetune"] = Field(
        default="finetune", description="Whose recipe trains the trials."
    )
    sampler: Literal["random", "tpe", "grid"] = "tpe"
    trials: int = Field(default=20, ge=1, le=100000)
    pruner: Literal["none", "median", "successive-halving"] = "none"
    metric: Metric = Field(default="loss", description="Validation metric that decides.")
    folds: int = Field(
        default=0, ge=0, le=100, description="0: the validation split; k ≥ 2: mean over k folds."
    )
    epochs: int | None = Field(default=None, ge=1, description="Overrides the recipe's epochs.")
    search: dict[str, Range | Choices] = Field(
        min_length=1,
        description="Spec keys (finetune.optimizer.learning_rate) → a range or a list of choices.",
    )

    @field_validator("search", mode="before")
    @classmethod
    def _flat(cls, value: Any) -> Any:
        """Accept dotted keys and nested tables alike."""
        return _flatten(value, "") if isinstance(value, Mapping) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.folds == 1:
            raise ValueError("folds = 1 leaves nothing to train on; 0 (validation split) or ≥ 2")
        if self.sampler == "grid":
            for key, space in self.search.items():
                if isinstance(space, Range) and space.log:
                    raise ValueError(f"sampler = 'grid' needs a list for {key!r} instead of log")
                if isinstance(space, Range) and not space.whole and space.step is None:
                    raise ValueError(f"sampler = 'grid' needs a step or a list for {key!r}")
            points = prod(
                len(space.points() if isinstance(space, Range) else space)
                for space in self.search.values()
            )
            if points > self.trials:
                raise ValueError(
                    f"the grid has {points} points and trials = {self.trials} would cut it off; "
                    f"set trials = {points}, or search fewer values"
                )
        return self


def _flatten(tree: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and not {"low", "high"} & set(value):
            flat.update(_flatten(value, f"{path}."))
        else:
            flat[path] = value
    return flat


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
