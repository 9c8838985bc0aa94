"""Which run is meant to go on: the one that is named, the one in ``out``, or the newest."""

from __future__ import annotations

from pathlib import Path

from paribus.errors import ParibusError, RunFolderError
from paribus.runfiles import RESULT, SPEC, read_result
from paribus.runstate.lock import require_free
from paribus.runstate.opening import difference
from paribus.spec.load import load
from paribus.spec.sections import Spec


def going_on(
    resume: str | Path | bool | None, out: Path | None, spec: Spec, *, overwrite: bool
) -> Path | None:
    """Return the folder of the run to go on with, or None to begin a new one.

    Args:
        resume: a run folder; True: the run in ``out``, or without one the newest unfinished run of
            the spec; None: the run in ``out``, if it is unfinished; False: none.
        out: the folder that the run is to leave.
        spec: with absolute paths, its backend chosen.
        overwrite: whether a run in ``out`` is to be replaced.

    Raises:
        RunFolderError: there is none where one must be, another process writes it, or what is in
            ``out`` was begun on another backend.
    """
    if out is not None:
        require_free(out)
    if resume is not None and not isinstance(resume, bool):
        return Path(resume)
    if resume is True and out is None:
        return newest(spec)
    if resume is False or out is None or overwrite or not unfinished(out):
        return None
    begun = read_result(out).get("backend")
    if resume is None and begun != spec.backend:
        raise RunFolderError(
            f"{out} holds an unfinished run on {begun}; to go on with it on {spec.backend}, add "
            f"--resume {out}, or name --backend {begun}; --overwrite begins anew"
        )
    return out


def unfinished(path: Path) -> bool:
    """Return whether a folder holds a run that has begun and is not complete."""
    return (path / RESULT).exists() and read_result(path).get("status") != "complete"


def newest(spec: Spec) -> Path:
    """Return the unfinished run of a spec in ``runs/NAME`` that was written last.

    Raises:
        RunFolderError: there is none.
    """
    root = Path("runs") / spec.name
    found = [path.parent for path in root.glob(f"*/{RESULT}")] if root.is_dir() else []
    left = sorted(filter(_is_left, found), key=lambda path: (path / RESULT).stat().st_mtime)
    for path in reversed(left):
        try:
            same = not difference(load(path / SPEC), spec)
        except ParibusError:
            continue
        if same:
            return path
    others = f"; unfinished there, of other specs: {', '.join(map(str, left))}" if left else ""
    raise RunFolderError(
        f"{root} has no unfinished run of this spec{others}. Name the run with --resume RUN, or "
        "leave --resume out to begin one"
    )


def _is_left(path: Path) -> bool:
    try:
        return unfinished(path)
    except RunFolderError:
        return False
