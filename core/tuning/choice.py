"""What was chosen, why, and beside what: the record that a run keeps and a memory gives back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Setting = bool | int | str
Settings = Mapping[str, Setting]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Error = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Record(BaseModel):
    """A JSON object: exactly these keys, each of its type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Tried(Record):
    """One candidate.

    Attributes:
        settings: by axis.
        verdict: kept, slower, too far (beyond the tolerance), or failed.
        seconds: of a step or batch, the median; None where it was not timed.
        error: its distance from the reference (see ``paribus.tuning.trying.distance``); None where
            it gave no answer.
        why: of a failure.
    """

    settings: dict[str, Setting]
    verdict: Literal["kept", "slower", "too far", "failed"]
    seconds: Seconds | None = None
    error: Error | None = None
    why: str = ""


class Choice(Record):
    """The candidate that is used from now on.

    Attributes:
        purpose: what for; title: of which network, for people.
        subject: hash of all that the choice depends on but the number of rows.
        settings: by axis.
        seconds: of a step or batch with it; reference_seconds: with the strict settings.
        error: its distance from them; tolerance: how much was allowed.
        tried: every candidate, in the order of trying.
        origin: measured now, remembered from an earlier run on this machine, or the run's own.
        note: what else should be said, as that a memory was damaged.
    """

    purpose: Literal["training", "evaluation"]
    title: str
    subject: str
    settings: dict[str, Setting]
    seconds: Seconds
    reference_seconds: Seconds
    error: Error
    tolerance: Error
    tried: list[Tried]
    origin: Literal["measured", "remembered", "run"] = "measured"
    note: str = ""

    @property
    def sentence(self) -> str:
        """What a person is told."""
        chosen = differences(self.settings, self.tried[0].settings) or "as in strict"
        much = self.reference_seconds / self.seconds if self.seconds > 0 else 1.0
        how = {"measured": "tried just now", "remembered": "remembered", "run": "as before"}
        return (
            f"fast {self.purpose} of {self.title}: {chosen} ({much:.2f} × strict, "
            f"{self.error:.1e} off; {how[self.origin]})"
        )


def differences(settings: Settings, reference: Settings) -> str:
    """Return what differs from the reference, as ``products = bfloat16, …``."""
    return ", ".join(
        f"{axis} = {str(value).lower() if isinstance(value, bool) else value}"
        for axis, value in settings.items()
        if value != reference[axis]
    )
