"""A run's model as the files that others' users expect, whichever backend trained it.

A backend writes its framework's own files. ONNX is written by core: it needs no framework.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from paribus import registry
from paribus.belongings import write
from paribus.errors import SpecError, UnknownBackend, nearest
from paribus.result import Result

ONNX = "onnx"
ONNX_FILE = "model.onnx"


def export(run: str | Path, to: str, folder: str | Path, *, overwrite: bool = False) -> list[Path]:
    """Write a run's model and return the files written.

    Everything is written beside ``folder`` first, so a failure leaves it as it was. Files of the
    same names are replaced, others are never touched.

    Args:
        run: a run folder.
        to: a backend, whose framework must be installed, for that framework's own files; or
            ``onnx`` for ``model.onnx``, which has been executed by onnxruntime and needs no
            framework (see ``Result.save_onnx``).
        folder: where; made if need be.
        overwrite: write into a folder that is not empty.

    Raises:
        SpecError: ``folder`` is not empty, or cannot be written.
        RunFolderError, RunError: ``run`` is not a run folder, or has no model; or its outputs as
            ONNX are not finite.
        BackendError: the backend is unknown, not installed, or cannot hold the network.
    """
    _require(to)
    target = Path(folder)
    # Always there, and a file is written no faster from an accelerator.
    with Result(run, backend=None if to == ONNX else to, device="cpu") as result:
        try:
            if target.is_dir() and any(target.iterdir()) and not overwrite:
                raise SpecError(
                    f"{target} is not empty; name another folder, or replace what has the same "
                    "name with --overwrite"
                )
            # What is in the way is found now; what is new is made when there is something for it.
            (target if target.exists() else target.parent).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".paribus-") as staged:
                if to == ONNX:
                    result.save_onnx(Path(staged) / ONNX_FILE)
                    write(Path(staged), result.belongings)
                else:
                    result.save_native(staged)
                target.mkdir(exist_ok=True)
                return [file.replace(target / file.name) for file in sorted(Path(staged).iterdir())]
        except OSError as error:
            raise SpecError(
                f"{target} cannot be written: {error.strerror or error}; name another folder"
            ) from error


def _require(to: str) -> None:
    """Refuse a target that is unknown or not installed, before anything is read."""
    if to == ONNX:
        from paribus.onnx.packages import require

        return require("onnx", "onnxruntime")
    known = [*registry.names(), ONNX]
    if to not in known:
        raise UnknownBackend(
            f"unknown target {to!r}; allowed: {', '.join(known)}.{nearest(to, known)}"
        )
    registry.require(to)
    return None
