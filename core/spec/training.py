"""The training recipes: ``[pretrain]`` and ``[finetune]``, their optimizers and schedules.

The optimizers' defaults are the canonical ones (PyTorch's); which tensors decay is stated, because
frameworks differ in it silently.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

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


class Recipe(Section):
    """How a network is trained."""

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
    monitor: Literal["loss", "accuracy"] = Field(
        default="loss", description="Validation metric for early stopping and keep = 'best'."
    )
    early_stopping: EarlyStopping | None = None
    keep: Literal["last", "best"] = Field(
        default="last", description="Which epoch's weights are kept; best: by monitor."
    )

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
    """Supervised training of a whole network, from drawn or given weights."""

    weights: str = Field(
        default="drawn",
        description="drawn, or a checkpoint to start from: a file, a folder, hub:owner/name.",
    )
    data: Data | None = Field(
        default=None, description="What differs from the top-level [data] for this step."
    )


class FineTune(Recipe):
    """Training on the task's data, from a pretrained body where there is one."""

    weights: str = Field(
        default="auto",
        description="auto: the pretrain step's where there is one, else drawn; drawn; or a "
        "checkpoint: a file, a folder, hub:owner/name.",
    )
    head: Literal["new", "keep"] = Field(
        default="new", description="Draw a new last layer, or keep the given one."
    )
    freeze: str = Field(
        default="none",
        description="none, body (all but the head), or a stage: everything below it is frozen.",
    )
    keep: Literal["last", "best"] = "best"
