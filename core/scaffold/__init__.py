"""A new adapter's package: what ``paribus new-adapter`` writes."""

from paribus.scaffold.package import write

__all__ = ["write"]
