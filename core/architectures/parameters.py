"""What every architecture's parameters have in common: the ``[model]`` section of a spec."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from pydantic import BaseModel, ConfigDict

from paribus.architectures.network import Network, Shape


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
