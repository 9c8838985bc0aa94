"""``[cache]``: where what frozen bodies compute is kept. No result depends on it."""

from __future__ import annotations

from pydantic import Field

from paribus.spec.base import Section


class Cache(Section):
    """The features of frozen bodies on disk, shared by all runs that have the same."""

    enabled: bool = Field(
        default=True, description="Compute what is frozen once, instead of in every epoch."
    )
    directory: str | None = Field(
        default=None,
        description="Where; none: features in $PARIBUS_CACHE, else in paribus in the cache folder.",
    )
    limit: float = Field(
        default=10.0, gt=0, le=1e6, description="GiB; what was not used for longest goes first."
    )
