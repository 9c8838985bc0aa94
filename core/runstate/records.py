"""What ``state.json`` holds: every key and type. Reading one refuses anything else.

Floats are written with as many digits as give the same bits back; JSON has no infinities, which
are written as words.
"""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

from paribus.loop import Trained
from paribus.metrics import Evaluation
from paribus.position import Kept, Position
from paribus.tuning import Choice

SHA256 = r"^[0-9a-f]{64}$"
_WORDS = {"inf": float("inf"), "-inf": float("-inf"), "nan": float("nan")}

Number = Annotated[
    float,
    BeforeValidator(lambda value: _WORDS.get(value, value) if isinstance(value, str) else value),
    PlainSerializer(lambda value: value if isfinite(value) else str(value), when_used="always"),
]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Hash = Annotated[str, Field(pattern=SHA256)]


class Record(BaseModel):
    """A JSON object: exactly these keys, each of its type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Judged(Record):
    """An ``Evaluation``."""

    loss: Number
    examples: Count
    scores: dict[str, Number | None]

    @classmethod
    def of(cls, found: Evaluation | None) -> Judged | None:
        """Return the record of an evaluation, or None."""
        if found is None:
            return None
        return cls(loss=found.loss, examples=found.examples, scores=dict(found.scores))


def evaluation(record: Judged | None) -> Evaluation | None:
    """Return the evaluation of a record, or None."""
    return None if record is None else Evaluation(record.loss, record.examples, record.scores)


class Identity(Record):
    """Which training: its labels in ``metrics.jsonl``, and hashes of all that it depends on."""

    labels: dict[str, str | int]
    depends: dict[str, str]

    @property
    def title(self) -> str:
        """What people call it."""
        return " ".join(str(value) for value in self.labels.values())


class Outcome(Record):
    """A ``Trained`` without its weights."""

    kept_epoch: Count
    epochs: Count
    optimizer_steps: Count
    train_loss: Number
    validation: Judged | None
    stopped: bool
    seconds: Number
    train_seconds: Number
    compile_seconds: Number
    examples: Count
    skipped: Count = 0

    @classmethod
    def of(cls, trained: Trained) -> Outcome:
        """Return the record of a training."""
        values = {name: getattr(trained, name) for name in cls.model_fields}
        return cls(**values | {"validation": Judged.of(trained.validation)})

    def trained(self, weights: dict[str, Any]) -> Trained:
        """Return the training with these weights."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return Trained(weights=weights, **values | {"validation": evaluation(self.validation)})


class Finished(Record):
    """A training that has ended.

    Attributes:
        how: complete; diverged (``error`` says where); cut, by what its epochs were reported to.
        outcome: of a complete one.
        model: hash of the file that has its weights, where later steps need them.
        validations: what was reported after each epoch, where somebody listened.
        seconds: wall time.
    """

    identity: Identity
    how: Literal["complete", "diverged", "cut"]
    outcome: Outcome | None = None
    error: str | None = None
    model: Hash | None = None
    validations: list[Judged | None] = []
    seconds: Number

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.how == "complete") != (self.outcome is not None):
            raise ValueError("a training that is complete has an outcome, and no other one")
        return self


class Place(Record):
    """A ``Position`` without weights; ``kept`` are epoch, loss and validation of ``Kept``."""

    epoch: Annotated[int, Field(ge=1, le=1_000_000)]
    start: Count
    loss_sum: Number
    counted: Number
    best: Number | None
    waited: Count
    kept: tuple[Count, Number, Judged | None] | None
    validations: list[Judged | None]
    seconds: Number
    train_seconds: Number
    compile_seconds: Number
    skipped: Count = 0

    @classmethod
    def of(cls, at: Position) -> Place:
        """Return the record of a position."""
        values = {name: getattr(at, name) for name in cls.model_fields}
        kept = at.kept and (at.kept.epoch, at.kept.loss, Judged.of(at.kept.validation))
        validations = [Judged.of(one) for one in at.validations]
        return cls(**values | {"kept": kept, "validations": validations})

    def position(self, kept: dict[str, Any]) -> Position:
        """Return the position, with the weights of the epoch that is kept."""
        values: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        best = None
        if self.kept is not None:
            epoch, loss, validation = self.kept
            best = Kept(epoch, loss, evaluation(validation), kept)
        validations = [evaluation(one) for one in self.validations]
        return Position(**values | {"kept": best, "validations": validations})


class UnderWay(Record):
    """The training that the state was kept in; its tensors are in their own file."""

    identity: Identity
    place: Place


class Leg(Record):
    """Which backend ran which of the run's optimizer steps: those after ``after_step``.

    Attributes:
        choices: what fast numerics computed with; a later leg on the same machine does again.
        changes: what differs from the spec of the legs before, and was accepted.
        warnings: what went wrong and did not end it.
    """

    backend: str
    device: str
    versions: dict[str, str]
    machine: str
    after_step: Count
    to_step: Count
    seconds: Number
    compile_seconds: Number
    choices: list[Choice] = []
    changes: list[str] = []
    warnings: list[str] = []


class Source(Record):
    """What tells a step's examples from others: ``Dataset.fingerprint``, and how many they are."""

    fingerprint: str
    examples: Count


class Mark(Record):
    """The bytes of ``metrics.jsonl`` that belong to a state, and their hash."""

    size: Count
    sha256: Hash


class State(Record):
    """Everything but tensors.

    Attributes:
        spec: the experiment's tree, without what may change on the way.
        data: of ``pretrain`` and of the task, by step.
        optimizer_steps: of all trainings so far.
        training: the one under way; beside: those that are trained together with it.
    """

    format: Literal[1]
    spec: dict[str, Any]
    data: dict[str, Source]
    optimizer_steps: Count
    metrics: Mark
    legs: list[Leg]
    finished: list[Finished]
    training: UnderWay | None
    beside: list[UnderWay] = []
