"""What every architecture's parameters have in common: the ``[model]`` section of a spec."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from paribus.architectures.network import Network, Objective, Shape
from paribus.errors import SpecError

# Published models drop 0.1 or more; a configuration that was read is silent about it, because it is
# a matter of the training. Close to 1 nothing would be left to multiply.
_Probability = Field(ge=0, le=0.999)

Dropout = Annotated[
    float,
    _Probability,
    Field(
        description="Probability of dropping a value in training; 0 unless it is set here, "
        "whatever a published checkpoint was trained with."
    ),
]
AttentionDropout = Annotated[
    float,
    _Probability,
    Field(description="The same of attention's shares, after the softmax."),
]
StochasticDepth = Annotated[
    float,
    _Probability,
    Field(
        description="Probability that an example skips the last block in training; it grows "
        "linearly over the blocks."
    ),
]


def of_block(probability: float, block: int, blocks: int) -> float:
    """Return the probability that block number ``block`` of 1 … ``blocks`` is skipped.

    Linear decay: block l of L survives with 1 − l/L · p (Huang et al. 2016, equation 4).
    """
    return probability * block / blocks


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
