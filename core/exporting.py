"""A run's model as the files that a framework's own users expect, whichever backend trained it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from paribus import registry
from paribus.errors import SpecError
from paribus.result import Result


def export(
    run: str | Path, backend: str, folder: str | Path, *, overwrite: bool = False
) -> list[Path]:
    """Write a run's model with ``backend`` and return the files written.

    Everything is written beside ``folder`` first, so a failure leaves it as it was. Files of the
    same names are replaced, others are never touched.

    Args:
        run: a run folder.
        backend: whose format; its framework must be installed.
        folder: where; made if need be.
        overwrite: write into a folder that is not empty.

    Raises:
        SpecError: ``folder`` is not empty, or cannot be written.
        RunFolderError, RunError: ``run`` is not a run folder, or has no model.
        BackendError: the backend is unknown, not installed, or cannot hold the network.
    """
    registry.require(backend)
    target = Path(folder)
    # Always there, and a file is written no faster from an accelerator.
    with Result(run, backend=backend, device="cpu") as result:
        try:
            if target.is_dir() and any(target.iterdir()) and not overwrite:
                raise SpecError(
                    f"{target} is not empty; name another folder, or replace what has the same "
                    "name with --overwrite"
                )
            target.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".paribus-") as staged:
                result.save_native(staged)
                return [file.replace(target / file.name) for file in sorted(Path(staged).iterdir())]
        except OSError as error:
            raise SpecError(
                f"{target} cannot be written: {error.strerror or error}; name another folder"
            ) from error
