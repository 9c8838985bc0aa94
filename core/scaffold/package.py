"""Writing the package of a new adapter, whole or not at all."""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path
from string import Template

from paribus.errors import SpecError
from paribus.scaffold import contract
from paribus.scaffold.naming import naming
from paribus.scaffold.templates import FILES


def write(name: str, folder: Path) -> Path:
    """Write a package with an adapter called ``name`` below ``folder`` and return its folder.

    It can be installed and tested at once; what is left to write is said by its tests.

    Raises:
        SpecError: the name is not allowed or taken, the folder is there already, or cannot be
            written.
    """
    names = naming(name)
    words = {
        "backend": names.backend,
        "distribution": names.distribution,
        "module": names.module,
        "prefix": names.prefix,
        "version": version("paribus"),
        "pending": contract.pending("unwritten"),
        "methods": contract.methods("unwritten"),
    }
    target = folder / names.distribution
    if target.exists() or target.is_symlink():
        raise SpecError(f"{target} exists and is left as it is; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".paribus-") as staged:
            # Its own permissions are for one user only, those of a folder in it are the usual.
            package = Path(staged) / names.distribution
            for path, text in FILES.items():
                file = package / Template(path).substitute(words)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(Template(text).substitute(words), encoding="utf-8")
            package.rename(target)
    except OSError as error:
        raise SpecError(f"{target} cannot be written: {error.strerror or error}") from error
    return target
