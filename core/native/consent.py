"""Whether code may run that somebody else's folder names.

A spec is its user's own, and may name code. A run folder has a spec as well, the one that the run
was made with, and run folders are copied and sent around. So the ``spec.toml`` of a run folder
brings its ``[native]`` models only where the user says that they may: going on with a run, or
running it again, must not execute what whoever packed the folder has put there.
"""

from __future__ import annotations

from pathlib import Path

from paribus.errors import SpecError
from paribus.filenames import is_file
from paribus.runfiles import RESULT, SPEC
from paribus.spec.sections import Spec

OPTION = "--trust-native"


def require_consent(spec: Spec, path: Path, *, given: bool) -> None:
    """Require consent to the code that the spec of a run folder names.

    Args:
        spec: as it was loaded.
        path: the file that it was loaded from.
        given: whether the user has said so.

    Raises:
        SpecError: the spec is a run folder's, it names code, and nobody has.
    """
    if spec.native is None or given or path.name != SPEC or not is_file(path.parent / RESULT):
        return
    named = ", ".join(f"{backend} = {target!r}" for backend, target in spec.native.builders.items())
    raise SpecError(
        f"{path} is the spec of a run folder, and it names code: {named} in {spec.native.path}. "
        f"That code runs with your rights. If the folder and the code are yours, add {OPTION}; or "
        "give your own spec's file instead"
    )
