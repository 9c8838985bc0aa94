"""What every architecture's parameters have in common: the ``[model]`` section of a spec."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from paribus.architectures.network import Network, Objective, Shape
from paribus.errors import SpecError


def _no_dropout(probability: float) -> float:
    if probability > 0:
        raise ValueError(
            f"{probability} given, 0 is allowed: no backend drops activations yet, because each "
            "framework draws masks from a generator of its own and would train another model"
        )
    return probability


# Stated, so that a resolved spec says that the published models' dropout is off.
Dropout = Annotated[
    float,
    Field(ge=0, lt=1, description="Probability of dropping an activation; only 0 for now."),
    AfterValidator(_no_dropout),
]


class Parameters(BaseModel):
    """An architecture's parameters, validated; a subclass has a literal ``architecture``.

    Attributes:
        usual: parameters that have no default, and an input, as the published models have them.
        reads: what its input is: ``values`` (images, tables) or ``tokens``.
        objectives: what it can be trained for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    usual: ClassVar[tuple[dict[str, Any], Shape]] = ({}, (3, 224, 224))
    reads: ClassVar[Literal["values", "tokens"]] = "values"
    objectives: ClassVar[tuple[Objective, ...]] = ("classification", "regression")

    architecture: str

    def values(self) -> dict[str, Any]:
        """Return the parameters as JSON values, without the architecture's name."""
        return self.model_dump(mode="json", exclude={"architecture"})

    def network(
        self, input_shape: Shape, classes: int, objective: Objective = "classification"
    ) -> Network:
        """Build the network for examples of ``input_shape`` and ``classes`` outputs.

        Args:
            input_shape: channels first for images, (features,) for tables, (tokens,) for texts.
            classes: of an example; for language modelling the vocabulary.
            objective: what it is trained for, which decides about its head.

        Raises:
            SpecError: the input or the objective does not fit the architecture.
        """
        if objective not in self.objectives:
            raise SpecError(
                f"objective = {objective!r}: model.architecture = {self.architecture!r} cannot be "
                f"trained for it; allowed: {', '.join(self.objectives)}"
            )
        return self._network(tuple(input_shape), classes, objective)

    def of_vocabulary(self, size: int | None) -> Self:
        """Return the parameters for a tokenizer of ``size`` tokens; None for other data.

        Raises:
            SpecError: texts for an architecture that reads none or the reverse, or more tokens
                than the model knows.
        """
        if size is None and self.reads == "tokens":
            raise SpecError(
                f"model.architecture = {self.architecture!r} reads texts, but the data has none; "
                "choose a source of texts, or an architecture for images or tables"
            )
        if size is not None and self.reads != "tokens":
            raise SpecError(
                f"model.architecture = {self.architecture!r} reads images or tables, but the data "
                "is texts; choose bert or gpt2"
            )
        return self

    @abstractmethod
    def _network(self, input_shape: Shape, classes: int, objective: Objective) -> Network:
        """Build what ``network`` has found possible."""
