"""``paribus cache``: what frozen bodies have left on the disk, and getting rid of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paribus.commands.options import AsJson, print_json


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove everything.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what was not used for longest, to the limit.")
    ] = False,
    limit: Annotated[
        float | None, typer.Option(metavar="GIB", min=0, help="Instead of the default limit.")
    ] = None,
    directory: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Instead of the default folder.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the features that frozen bodies have computed: where, entries, size, limit."""
    from time import localtime, strftime

    from paribus.features.store import Store, folder_of
    from paribus.report.plain import plain
    from paribus.spec.caching import Cache

    most = Cache().limit if limit is None else limit
    store = Store(folder_of(None if directory is None else str(directory)), int(most * 2**30))
    if clear or prune:
        removed = store.clear() if clear else store.prune()
        typer.echo(f"removed {removed} {'entry' if removed == 1 else 'entries'}", err=as_json)
    entries = store.entries()
    total = sum(entry.bytes for entry in entries)
    if as_json:
        print_json(
            {
                "directory": str(store.folder),
                "bytes": total,
                "limit_bytes": store.limit,
                "entries": [vars(entry) for entry in entries],
            }
        )
        return
    typer.echo(f"{store.folder}: {len(entries)} entries, {_mib(total)} of {most:g} GiB")
    for entry in entries:
        about = {key: str(value) for key, value in entry.about.items()}
        model = f"{about.get('model', '?')} up to {about.get('boundary', '?')}"
        rows = f"{about.get('rows', '?')} examples"
        place = ", ".join(about.get(key, "?") for key in ("backend", "device", "precision"))
        used = strftime("%Y-%m-%d %H:%M", localtime(entry.used))
        told = plain(f"{model}, {rows}; {place}")
        typer.echo(f"{entry.name[:12]}  {_mib(entry.bytes):>12}  {used}  {told}")


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
