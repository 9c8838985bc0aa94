"""The training recipes: ``[pretrain]`` and ``[finetune]``, their optimizers and schedules.

The optimizers' defaults are the canonical ones (PyTorch's); which tensors decay is stated, because
frameworks differ in it silently.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from paribus.errors import SpecError
from paribus.measures import validate
from paribus.spec.base import Section
from paribus.spec.data import Data


class _Optimizer(Section):
    learning_rate: float = Field(default=0.01, gt=0, le=1e6)
    weight_decay: float = Field(default=0.0, ge=0, le=1e3)
    decay: Literal["all", "weights"] = Field(
        default="all", description="What weight decay applies to; weights: no bias, no norm."
    )

    @property
    def rule(self) -> str:
        """The update rule's key in ``paribus.optimizers.RULES``."""
        return str(self.name)  # type: ignore[attr-defined]

    def values(self) -> dict[str, float]:
        """Return the numeric hyperparameters by name."""
        return {
            key: float(value)
            for key, value in self.model_dump().items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }


class GradientDescent(_Optimizer):
    """One step per epoch with the exact mean gradient of the whole training set.

    ``batch_size`` is then how many rows are computed at once; BatchNorm normalises within them.
    """

    name: Literal["gradient_descent"] = "gradient_descent"
    learning_rate: float = Field(default=0.1, gt=0, le=1e6)

    @property
    def rule(self) -> str:
        """Plain descent."""
        return "sgd"


class SGD(_Optimizer):
    """Stochastic gradient descent, with momentum and Nesterov's form, coupled weight decay."""

    name: Literal["sgd"] = "sgd"
    momentum: float = Field(default=0.0, ge=0, lt=1)
    nesterov: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov = true needs momentum > 0")
        return self

    @property
    def rule(self) -> str:
        """The variant that these values need."""
        if self.momentum == 0:
            return "sgd"
        return "sgd_nesterov" if self.nesterov else "sgd_momentum"


class Adam(_Optimizer):
    """Adam with coupled weight decay."""

    name: Literal["adam"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0, le=1e6)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0, le=1)


class AdamW(Adam):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"] = "adamw"  # type: ignore[assignment]
    weight_decay: float = Field(default=0.01, ge=0, le=1e3)
    decay: Literal["all", "weights"] = "weights"


class RMSprop(_Optimizer):
    """RMSprop, epsilon outside of the root, with optional momentum."""

    name: Literal["rmsprop"] = "rmsprop"
    learning_rate: float = Field(default=1e-3, gt=0, le=1e6)
    alpha: float = Field(default=0.99, ge=0, lt=1)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0, le=1)

    @property
    def rule(self) -> str:
        """The variant that these values need."""
        return "rmsprop_momentum" if self.momentum else "rmsprop"


class _Schedule(Section):
    warmup_epochs: float = Field(
        default=0.0, ge=0, description="Linear rise from 0 over this many epochs (or a part)."
    )


class Constant(_Schedule):
    """The learning rate stays."""

    name: Literal["constant"] = "constant"


class Step(_Schedule):
    """Multiplied by ``gamma`` every ``every_epochs`` epochs."""

    name: Literal["step"] = "step"
    every_epochs: int = Field(default=10, ge=1)
    gamma: float = Field(default=0.1, gt=0, le=1)


class Linear(_Schedule):
    """Falls on a line to ``final`` times the learning rate at the end."""

    name: Literal["linear"] = "linear"
    final: float = Field(default=0.0, ge=0, le=1)


class Cosine(_Schedule):
    """Falls on half a cosine to ``final`` times the learning rate at the end."""

    name: Literal["cosine"] = "cosine"
    final: float = Field(default=0.0, ge=0, le=1)


def _named(value: Any) -> Any:
    """Let a bare string stand for ``{name = …}``."""
    return {"name": value} if isinstance(value, str) else value


Optimizer = Annotated[
    GradientDescent | SGD | Adam | AdamW | RMSprop,
    Field(discriminator="name"),
    BeforeValidator(_named),
]
Schedule = Annotated[
    Constant | Step | Linear | Cosine, Field(discriminator="name"), BeforeValidator(_named)
]


class EarlyStopping(Section):
    """Stop when ``monitor`` has not improved by more than ``min_delta`` for ``patience`` epochs."""

    patience: int = Field(default=5, ge=1)
    min_delta: float = Field(default=0.0, ge=0)


METRICS = (
    "loss|accuracy|balanced_accuracy|macro_f1|roc_auc|log_loss|calibration_error|perplexity"
    "|mean_squared_error|mean_absolute_error|r2"
)
Metric = Annotated[
    str,
    Field(
        pattern=rf"^({METRICS}|top_[1-9][0-9]{{0,3}}_accuracy)$",
        description=METRICS.replace("|", ", ") + " or top_K_accuracy",
    ),
]
Weights = Annotated[list[Annotated[float, Field(gt=0, le=1e6)]], Field(min_length=2)]


class Recipe(Section):
    """How a network is trained."""

    objective: Literal["classification", "regression", "masked_lm", "causal_lm"] = Field(
        default="classification",
        description="What is learned: a class, numbers, masked tokens, or each next token.",
    )
    epochs: int = Field(default=10, ge=1, le=1_000_000)
    batch_size: int = Field(default=32, ge=1, le=1_000_000)
    shards: int = Field(
        default=1, ge=1, le=4096,
        description="Parts of a batch, computed one by one; BatchNorm normalises within each.",
    )  # fmt: skip
    last_batch: Literal["keep", "drop"] = Field(
        default="keep", description="What happens to an epoch's incomplete last batch."
    )
    optimizer: Optimizer = SGD()
    schedule: Schedule = Constant()
    clip_norm: float | None = Field(
        default=None, gt=0, description="Largest global L2 norm of the gradient."
    )
    on_nonfinite: Literal["stop", "skip"] = Field(
        default="stop",
        description="What becomes of a step whose loss or gradient is NaN or infinite: stop ends "
        "the training, skip leaves the step out.",
    )
    most_skipped: int = Field(
        default=10, ge=1, le=1_000_000,
        description="With on_nonfinite = skip: as many in a row end the training all the same.",
    )  # fmt: skip
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="classification: share of each label given to all."
    )
    class_weights: Literal["balanced"] | Weights | None = Field(
        default=None,
        description="classification: what an example of each class weighs; balanced: inversely to "
        "the training rows of its class.",
    )
    mask_probability: float = Field(
        default=0.15, gt=0, lt=1, description="masked_lm: share of a text's tokens to predict."
    )
    group_by_length: bool = Field(
        default=False, description="texts: put those of like length into one batch."
    )
    monitor: Metric = Field(
        default="loss", description="Validation metric for early stopping and keep = 'best'."
    )
    metrics: list[Metric] = Field(
        default=[], max_length=32, description="What to report besides loss and accuracy."
    )
    early_stopping: EarlyStopping | None = None
    keep: Literal["last", "best"] = Field(
        default="last", description="Which epoch's weights are kept; best: by monitor."
    )

    @model_validator(mode="after")
    def _objective_fits(self) -> Self:
        only = {"label_smoothing": self.label_smoothing, "class_weights": self.class_weights}
        for key, value in only.items():
            if value and self.objective != "classification":
                raise ValueError(
                    f"{key} = {value} is for objective = 'classification', not "
                    f"{self.objective!r}; remove it"
                )
        try:
            validate(list(dict.fromkeys((self.monitor, *self.metrics))), self.objective)
        except SpecError as error:
            raise ValueError(str(error)) from error
        return self

    @model_validator(mode="after")
    def _shards_fit(self) -> Self:
        if self.shards > self.batch_size:
            raise ValueError(f"shards = {self.shards} exceeds batch_size = {self.batch_size}")
        if self.shards > 1 and isinstance(self.optimizer, GradientDescent):
            raise ValueError(
                "gradient_descent already takes its one batch in parts of batch_size rows; leave "
                "shards = 1 and choose batch_size"
            )
        if self.schedule.warmup_epochs > self.epochs:
            raise ValueError(
                f"schedule.warmup_epochs = {self.schedule.warmup_epochs:g} exceeds epochs = "
                f"{self.epochs}; the learning rate would never be reached"
            )
        return self


class PreTrain(Recipe):
    """Training of a whole network, from drawn or given weights."""

    weights: str = Field(
        default="drawn",
        description="drawn, checkpoint (the spec's), or a file, a folder or hub:owner/name.",
    )
    data: Data | None = Field(
        default=None, description="What differs from the top-level [data] for this step."
    )


class FineTune(Recipe):
    """Training on the task's data, from a pretrained body where there is one."""

    weights: str = Field(
        default="auto",
        description="auto: the pretrain step's, else the checkpoint's, else drawn; or checkpoint, "
        "drawn, a file, a folder, hub:owner/name.",
    )
    head: Literal["new", "keep"] = Field(
        default="new",
        description="Draw a new head, or keep the given one where its outputs are as many.",
    )
    freeze: str = Field(
        default="none",
        description="none, body (all but the head), or a stage: everything below it is frozen.",
    )
    keep: Literal["last", "best"] = "best"
