"""The sections that choose: candidates that are compared, and values that are searched."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from paribus.spec.base import Section
from paribus.spec.training import Metric

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
