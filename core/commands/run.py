"""``paribus run``: an experiment from its beginning, or from where a run of it was left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from paribus.commands.options import Device, Out, Overwrite, Quiet, Set, SpecFile, TrustNative

RESUME, NEWEST = "--resume", "newest"

Resume = Annotated[
    Path | None,
    typer.Option(
        metavar="[RUN]",
        help="Go on with this run of the spec, begun on any backend; without RUN with the one in "
        "--out, or the newest unfinished one below runs/NAME.",
    ),
]
AcceptChanges = Annotated[
    bool,
    typer.Option(
        "--accept-changes",
        help="Go on with another spec than the run's, where what changed is still to come.",
    ),
]
Check = Annotated[
    bool | None,
    typer.Option(
        "--check/--no-check",
        help="Only try one batch of everything that would be trained, and say what would fail; "
        "by default a run of several steps does so first.",
    ),
]
StopAfter = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Stop after N further optimizer steps, to go on later."),
]


def with_newest(arguments: Sequence[str]) -> list[str]:
    """Return a command line where a ``--resume`` that names no run says ``newest``."""
    named: list[str] = []
    for place, argument in enumerate(arguments):
        after = "".join(arguments[place + 1 : place + 2]) or "-"
        named += [argument, NEWEST] if argument == RESUME and after.startswith("-") else [argument]
    return named


def run(
    spec: SpecFile,
    backend: Annotated[
        str | None, typer.Option(help="Instead of the spec's; see: paribus backends.")
    ] = None,
    device: Device = None,
    out: Out = None,
    overrides: Set = None,
    overwrite: Overwrite = False,
    resume: Resume = None,
    accept_changes: AcceptChanges = False,
    stop_after: StopAfter = None,
    check: Check = None,
    trust_native: TrustNative = False,
    quiet: Quiet = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Lines of progress where there is no terminal.")
    ] = False,
) -> None:
    """Run an experiment, or go on with a run of it."""
    from paribus import progress
    from paribus.errors import RunFolderError
    from paribus.native.consent import require_consent
    from paribus.report.plain import plain
    from paribus.runfiles import RESULT
    from paribus.running import run as run_spec
    from paribus.runstate.opening import command, is_complete
    from paribus.spec import load

    loaded = load(spec, overrides or [])
    require_consent(loaded, spec, given=trust_native)
    if check:
        from paribus.checking import check as check_spec
        from paribus.report.rehearsal import show_tried

        tried = check_spec(loaded, backend=backend, device=device, out=out)
        show_tried(tried)
        if any(one.error is not None for one in tried):
            raise typer.Exit(1)
        return
    named = None if resume is None or str(resume) == NEWEST else resume
    done = named is not None and is_complete(named)
    try:
        result = run_spec(
            loaded,
            backend=backend,
            device=device,
            out=out,
            overwrite=overwrite,
            progress=progress.choose(quiet=quiet, verbose=verbose),
            resume=True if named is None and resume is not None else named,
            accept_changes=accept_changes,
            stop_after=stop_after,
            check=check is None,
        )
    except (KeyboardInterrupt, SystemExit) as error:
        for note in getattr(error, "__notes__", ()):
            typer.echo(plain(f"paribus: {note}"), err=True)
        raise
    if quiet:
        return
    if done:
        typer.echo(plain(f"{result.folder} is complete; nothing is left to do"))
    if result.metrics["status"] == "stopped":
        steps = result.metrics["optimizer_steps"]
        goes_on = plain(command(result.folder, native=loaded.native is not None))
        typer.echo(f"stopped after optimizer step {steps}; go on with: {goes_on}")
        return
    from paribus.report.console import show_run

    try:
        show_run(result)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if not done:
            raise
        # What has just been run is as it was written; what was complete before may be anything.
        raise RunFolderError(
            f"{result.folder / RESULT} is not as a run writes it: {type(error).__name__}: {error}"
        ) from error
