"""Options that several commands share, and how all of them print JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

SpecFile = Annotated[Path, typer.Argument(metavar="SPEC", help="A .toml, .yaml or .json file.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key: finetune.epochs=3. Repeats."),
]
Device = Annotated[
    str | None,
    typer.Option(help="auto, cpu, cuda, cuda:N or mps; instead of the spec's."),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Run folder; by default the next free one below runs/NAME."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run that --out holds.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors.")]
AcceptNames = Annotated[
    bool,
    typer.Option(
        "--accept-names", help="With [native] and no native.names: run on the proposed table."
    ),
]
TrustNative = Annotated[
    bool,
    typer.Option(
        "--trust-native", help="Let the spec of a run folder run the code of its [native] models."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_json(value: Any) -> None:
    """Print a value as indented JSON on standard output."""
    import json

    from paribus.report.plain import plain_json

    typer.echo(plain_json(json.dumps(value, indent=2, ensure_ascii=False, default=str)))
