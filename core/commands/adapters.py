"""``paribus new-adapter``: the beginning of a backend of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new_adapter(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What users will write after --backend.")
    ],
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where the folder paribus-NAME is made.")
    ] = Path(),
) -> None:
    """Write an installable package for a backend of your own, with its tests."""
    from paribus.scaffold import write

    package = write(name, folder)
    typer.echo(f"wrote {package}; what to write next is said by its tests:")
    typer.echo(f"  cd {package} && pip install -e '.[test]' && python -m pytest -x")
