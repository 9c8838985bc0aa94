"""What all sections have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """A table of the spec: unknown keys are errors, numbers are finite, nothing changes later.

    TOML has no null, so ``"none"`` stands for no value at every key whose default is no value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_value(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        optional = {key for key, field in cls.model_fields.items() if field.default is None}
        return {
            key: None if key in optional and isinstance(item, str) and item == "none" else item
            for key, item in value.items()
        }
