"""Where paribus keeps what can be computed again: features of frozen bodies, what fast chose."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "PARIBUS_CACHE"


def cache_folder() -> Path:
    """Return the folder; it need not exist.

    ``$PARIBUS_CACHE``; else ``paribus`` in ``$XDG_CACHE_HOME``, if that is an absolute path, or in
    ``~/.cache``.
    """
    if own := os.environ.get(VARIABLE):
        return Path(own).expanduser()
    given = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(given) if os.path.isabs(given) else Path.home() / ".cache") / "paribus"
