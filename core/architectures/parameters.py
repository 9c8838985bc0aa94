"""What every architecture's parameters have in common: the ``[model]`` section of a spec."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from paribus.architectures.network import Network, Shape


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
    """An architecture's parameters, validated; a subclass has a literal ``architecture``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: str

    def values(self) -> dict[str, Any]:
        """Return the parameters as JSON values, without the architecture's name."""
        return self.model_dump(mode="json", exclude={"architecture"})

    @abstractmethod
    def network(self, input_shape: Shape, classes: int) -> Network:
        """Build the network for examples of ``input_shape`` (channels first) and ``classes``.

        Raises:
            SpecError: the input does not fit the architecture.
        """
