"""What ``result.json`` says of a run as a whole: at its beginning, and however it ends."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from paribus.adapter import Backend
from paribus.cachefolder import cache_folder
from paribus.errors import ParibusError, RunFolderError
from paribus.filenames import shown
from paribus.runfolder import RunFolder
from paribus.runstate.legs import described, versions
from paribus.spec.sections import Spec
from paribus.tolerances import TOLERANCE
from paribus.tuning import Choice, Tuning


class _Leg(BaseModel):
    choices: list[Choice] = []


class _Chosen(BaseModel):
    """What is read of a result here."""

    legs: list[_Leg] = []
    tolerance: Annotated[float, Field(gt=0, allow_inf_nan=False)] = TOLERANCE


def header(spec: Spec, backend: Backend) -> dict[str, Any]:
    """Return what is known before a run begins."""
    return {
        "name": spec.name,
        "status": "running",
        "backend": backend.name,
        "device": spec.device,
        "precision": spec.precision,
        "numerics": spec.numerics,
        **({"tolerance": spec.tolerance} if spec.numerics == "fast" else {}),
        "seed": spec.seed,
        "versions": versions(backend),
        "machine": described(),
        "steps": {},
    }


def tuning(result: Mapping[str, Any]) -> Tuning:
    """Return what a session in fast numerics may choose for a run's model, and what the run has."""
    try:
        told = _Chosen.model_validate(result)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise RunFolderError(
            "result.json: legs.choices is no record of what fast numerics chose: "
            f"{'.'.join(str(part) for part in first['loc'])[:200]}: {first['msg']}; remove the "
            "list, and it is chosen anew"
        ) from error
    earlier = tuple(one for leg in told.legs for one in leg.choices)
    return Tuning(told.tolerance, cache_folder(), earlier)


def failure(error: BaseException) -> dict[str, Any]:
    """Return how a run ended that an exception has ended."""
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return {"status": "interrupted"}
    kind = type(error).__name__
    return {"status": "failed", "error": {"kind": kind, "message": shown(str(error))}}


def tell(folder: RunFolder, result: dict[str, Any]) -> None:
    """Write ``result.json`` at the end of a run.

    Raises:
        RunFolderError: it cannot be written, and no other error says that already.
    """
    # ru_maxrss is in KiB on Linux and in bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    try:
        folder.write_result(result | {"peak_memory_bytes": peak})
    except ParibusError:
        # The run's own error is on its way to the user; a folder that has gone must not hide it.
        if result["status"] == "complete":
            raise
