"""``paribus run``: an experiment from its beginning, or from where a run of it was left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paribus.commands.options import Device, Out, Overwrite, Quiet, Set, SpecFile

Resume = Annotated[
    Path | None,
    typer.Option(metavar="RUN", help="Go on with this run of the spec, begun on any backend."),
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
    stop_after: StopAfter = None,
    check: Check = None,
    quiet: Quiet = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Lines of progress where there is no terminal.")
    ] = False,
) -> None:
    """Run an experiment, or go on with a run of it."""
    from paribus import progress
    from paribus.running import run as run_spec
    from paribus.runstate.opening import command, is_complete
    from paribus.spec import load

    loaded = load(spec, overrides or [])
    if check:
        from paribus.checking import check as check_spec
        from paribus.report.rehearsal import show_tried

        tried = check_spec(loaded, backend=backend, device=device, out=out)
        show_tried(tried)
        if any(one.error is not None for one in tried):
            raise typer.Exit(1)
        return
    done = resume is not None and is_complete(resume)
    try:
        result = run_spec(
            loaded,
            backend=backend,
            device=device,
            out=out,
            overwrite=overwrite,
            progress=progress.choose(quiet=quiet, verbose=verbose),
            resume=resume,
            stop_after=stop_after,
            check=check is None,
        )
    except (KeyboardInterrupt, SystemExit) as error:
        for note in getattr(error, "__notes__", ()):
            typer.echo(f"paribus: {note}", err=True)
        raise
    if quiet:
        return
    if done:
        typer.echo(f"{result.folder} is complete; nothing is left to do")
    if result.metrics["status"] == "stopped":
        steps = result.metrics["optimizer_steps"]
        typer.echo(f"stopped after optimizer step {steps}; go on with: {command(result.folder)}")
        return
    from paribus.report.console import show_run

    show_run(result)
