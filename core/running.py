"""Runs an experiment: attempts at it, until one of them comes to its end."""

from __future__ import annotations

import gc
from contextlib import closing, suppress
from pathlib import Path

from paribus import status
from paribus.attempt import Again, Diverged, Limit, attempt
from paribus.errors import ParibusError
from paribus.progress import Progress
from paribus.result import Result
from paribus.runfolder import METRICS, RunFolder, last_line, read_result
from paribus.runstate.opening import command
from paribus.spec.sections import Spec
from paribus.thrift import Thrift


def run(
    spec: Spec,
    *,
    backend: str | None = None,
    device: str | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    resume: str | Path | bool | None = None,
    accept_changes: bool = False,
    stop_after: int | None = None,
    check: bool = True,
) -> Result:
    """Run an experiment, or go on with a run of it, and return its result.

    Args:
        spec: from ``paribus.load``.
        backend: instead of the spec's.
        device: instead of the spec's: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        out: the run folder; by default the next free ``runs/NAME/BACKEND-N``. An unfinished run of
            the same spec and backend in it is gone on with.
        overwrite: replace the run that ``out`` holds.
        progress: what to say on the way; silent by default.
        resume: a run folder of the same spec, begun on any backend, to go on with: in place, or in
            ``out``. Of a run that is complete the result is returned. True: the one in ``out``, or
            without ``out`` the newest unfinished one in ``runs/NAME``. False: none.
        accept_changes: go on with another spec than the run's, where what changed is still to come.
        stop_after: stop after so many further optimizer steps, all trainings together, unless the
            run ends before; the result's status is then ``stopped``.
        check: of an experiment of several steps, first try one batch of everything that it may
            train (``paribus.steps.rehearsal``), before a folder is made or emptied.

    A run that has no more memory goes on from its last checkpoint with less beside its steps, to
    the same result (``paribus.thrift``).

    In the main thread, SIGINT and SIGTERM are heard when the steps under way are done and the
    state of the run is kept, and then do what they always do; a second one does it at once.

    Raises:
        SpecError, DataError, WeightsError: before any training, where they can be known.
        BackendError: the backend or device is not there, cannot honour the spec, or has not the
            memory (``OutOfMemory``).
        RunError: the run could not go on; the folder stays readable and says why.
        RunFolderError: the folder cannot be written, or cannot go on.
    """
    thrift, limit = Thrift(), Limit(stop_after)
    while True:
        try:
            return attempt(
                spec, backend, device, out, overwrite, progress, resume, accept_changes, limit,
                check, thrift,
            )  # fmt: skip
        except Again as again:
            resume, out, overwrite, check = again.folder, None, False, False
        except Diverged as diverged:
            folder, error = diverged.folder, diverged.error
            last = last_line(folder)
            with suppress(ParibusError, OSError):
                # The same steps once more, as far as they were good: without a checkpoint, or
                # since the last one, a few minutes.
                limit = Limit(None, diverged.good)
                attempt(
                    spec, backend, device, None, False, None, folder, accept_changes, limit, False,
                    thrift,
                )  # fmt: skip
                with (folder / METRICS).open("ab") as stream:
                    stream.write(last)
            with closing(RunFolder(folder)) as ended:
                ended.write_result(read_result(folder) | status.failure(error))
            error.add_note(f"go on with: {command(folder, native=spec.native is not None)}")
            raise error from None
        # What the failed attempt has left in circles is memory, too.
        gc.collect()
