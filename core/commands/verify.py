"""``paribus verify``: do backends train this experiment alike, and if not, where and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from paribus.commands.options import (
    AcceptNames,
    AsJson,
    Device,
    Quiet,
    Set,
    SpecFile,
    TrustNative,
    print_json,
)


def verify(
    spec: SpecFile,
    backends: Annotated[
        str, typer.Option(metavar="A,B[,C]", help="Two or more; the first is the reference.")
    ],
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps to take.")] = 20,
    precision: Annotated[
        str,
        typer.Option(
            help="float64 proves; float32 and bfloat16 are judged against each backend's own noise."
        ),
    ] = "float64",
    step: Annotated[
        str | None,
        typer.Option(help="finetune or pretrain; by default the last of them in the spec."),
    ] = None,
    device: Device = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write everything as JSON, too.")
    ] = None,
    overrides: Set = None,
    trust_native: TrustNative = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    accept_names: AcceptNames = False,
    propose_names: Annotated[
        bool,
        typer.Option(
            "--propose-names", help="With [native]: print a proposed table of names and stop."
        ),
    ] = False,
) -> None:
    """Prove that backends train an experiment alike, or show where and why they do not."""
    from paribus.native.consent import require_consent
    from paribus.report.plain import plain, plain_json
    from paribus.report.verification import show_verification
    from paribus.spec import load
    from paribus.verifying import verify as verify_spec

    loaded = load(spec, overrides or [])
    require_consent(loaded, spec, given=trust_native)
    names = [name.strip() for name in backends.split(",") if name.strip()]
    if propose_names:
        from paribus.native.agreeing import proposal

        text, notes = proposal(loaded, names)
        for note in notes:
            typer.echo(plain(f"note: {note}"), err=True)
        typer.echo(plain_json(text), nl=False)
        return
    found = verify_spec(
        loaded,
        names,
        steps=steps,
        precision=cast(Any, precision),
        step=step,
        device=device,
        say=lambda message: None if quiet else typer.echo(plain(message), err=True),
        accept_names=accept_names,
    )
    if out is not None:
        found.save(out)
    if as_json:
        print_json(found.as_dict())
    else:
        show_verification(found)
    if not found.passed:
        raise typer.Exit(1)
