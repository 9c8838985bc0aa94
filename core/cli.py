"""The ``paribus`` command. It parses before it imports anything that takes long.

Exit codes: 0 done; 1 the run failed; 2 the command line, the spec or the data is wrong; 130
interrupted; 143 terminated. Errors that people can mend are one message without a traceback.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paribus.commands.adapters import new_adapter
from paribus.commands.caching import cache
from paribus.commands.models import export, predict
from paribus.commands.options import (
    AcceptNames,
    AsJson,
    Device,
    Out,
    Overwrite,
    Quiet,
    Set,
    SpecFile,
    TrustNative,
    print_json,
)
from paribus.commands.run import run, with_newest
from paribus.commands.verify import verify

if TYPE_CHECKING:
    from paribus.spec import Spec

INTERRUPTED = 130
# How the note begins that says how to go on with a run that an error has ended.
GO_ON = "go on with: "
TERMINATED = 143
LONGEST_MESSAGE = 16_384


class Terminated(SystemExit):
    """SIGTERM arrived; an exception, so that a run can still say how it ended."""


app = typer.Typer(
    name="paribus",
    help="One experiment spec, the same training on every framework: pretrain, select, "
    "optimize, fine-tune; same initial weights, same batches, same arithmetic, same answer.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


app.command()(run)


@app.command()
def compare(
    spec: SpecFile,
    backends: Annotated[
        str, typer.Option(metavar="A,B[,C]", help="Two or more; the first is the reference.")
    ],
    device: Device = None,
    out: Out = None,
    overrides: Set = None,
    overwrite: Overwrite = False,
    trust_native: TrustNative = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    accept_names: AcceptNames = False,
) -> None:
    """Run an experiment on several backends, each in its own process, and compare."""
    from paribus.comparing import compare as compare_spec
    from paribus.native.consent import require_consent
    from paribus.report.console import show_comparison
    from paribus.report.plain import plain

    names = [name.strip() for name in backends.split(",") if name.strip()]
    loaded = _load(spec, overrides)
    require_consent(loaded, spec, given=trust_native)
    comparison = compare_spec(
        loaded,
        names,
        device=device,
        out=out,
        overwrite=overwrite,
        say=lambda message: None if quiet else typer.echo(plain(message), err=True),
        show_progress=not quiet and sys.stderr.isatty(),
        accept_names=accept_names,
    )
    if as_json:
        print_json({"reference": names[0], "backends": comparison.table()})
    else:
        show_comparison(comparison)


@app.command()
def check(spec: SpecFile, overrides: Set = None) -> None:
    """Validate a spec without running it."""
    from paribus.report.plain import plain

    loaded = _load(spec, overrides)
    typer.echo(f"{plain(str(spec))}: valid; steps: {', '.join(loaded.steps)}")


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="The file to write.")] = Path("experiment.toml"),
) -> None:
    """Write a commented starter spec."""
    from paribus.errors import SpecError
    from paribus.spec import starter

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(starter())
    except FileExistsError as error:
        raise SpecError(f"{path} exists and is left as it is; name another file") from error
    except OSError as error:
        raise SpecError(f"{path} cannot be written: {error.strerror or error}") from error
    typer.echo(f"wrote {path}; run it with: paribus run {path}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a spec."""
    from paribus.spec import schema as json_schema

    print_json(json_schema())


@app.command()
def backends(as_json: AsJson = False) -> None:
    """List backends, versions, devices, and what installs a missing one."""
    from concurrent.futures import ThreadPoolExecutor

    from paribus import registry

    names = registry.names()
    with ThreadPoolExecutor(max_workers=len(names) or 1) as pool:
        found = list(pool.map(registry.probe, names))
    if as_json:
        print_json([vars(probe) for probe in found])
        return
    for probe in found:
        versions = ", ".join(f"{name} {version}" for name, version in probe.versions.items())
        if probe.reason is None:
            typer.echo(f"{probe.name:14} {versions}; devices: {', '.join(probe.devices)}")
        else:
            mend = f"; install: {probe.install}" if probe.install else ""
            typer.echo(f"{probe.name:14} not usable: {probe.reason}{mend}")


@app.command()
def models(as_json: AsJson = False) -> None:
    """List architectures: parameters of the usual size, stages, and their settings' defaults."""
    from paribus.architectures import ARCHITECTURES, build

    rows: list[dict[str, Any]] = []
    for name, section in ARCHITECTURES.items():
        parameters, shape = section.usual
        network = build(name, parameters, shape, 1000)
        rows.append(
            {
                "architecture": name,
                "parameters": network.parameter_count,
                "stages": list(network.stages),
                "settings": {
                    key: value.default
                    for key, value in section.model_fields.items()
                    if key != "architecture"
                },
            }
        )
    if as_json:
        print_json(rows)
        return
    for row in rows:
        settings = " ".join(f"{key}={value}" for key, value in row["settings"].items())
        typer.echo(f"{row['architecture']:12} {row['parameters']:>12,}  {settings}".rstrip())
        typer.echo(f"{'':12} stages: {', '.join(row['stages'])}")


app.command()(predict)
app.command()(export)
app.command()(verify)
app.command()(cache)
app.command()(new_adapter)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"paribus {installed('paribus')}")
        raise typer.Exit


def _load(path: Path, overrides: list[str] | None) -> Spec:
    from paribus.spec import load

    return load(path, overrides or [])


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code; the console script's entry point."""
    from paribus.errors import ParibusError
    from paribus.report.plain import plain

    signal.signal(signal.SIGTERM, _terminate)
    given = with_newest(sys.argv[1:] if arguments is None else arguments)
    try:
        code = int(app(args=given, standalone_mode=False) or 0)
    except ParibusError as error:
        typer.echo(plain(f"paribus: {_bounded(str(error))}"), err=True)
        for note in getattr(error, "__notes__", ()):
            if note.startswith(GO_ON):
                typer.echo(plain(note), err=True)
        return error.exit_code
    except Terminated:
        typer.echo("paribus: terminated", err=True)
        return TERMINATED
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has left; Python would complain once more at shutdown.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        usage = getattr(error, "format_message", None)
        if usage is None:
            return _defect(error)
        typer.echo(plain(f"paribus: {usage()} (paribus --help)"), err=True)
        return int(getattr(error, "exit_code", 2))
    # typer turns Ctrl-C into this code, or into an exception, as its version goes.
    if code == INTERRUPTED:
        typer.echo("paribus: interrupted", err=True)
    return code


def _bounded(message: str) -> str:
    """Return a message that a person can read: what a file says in it may have megabytes."""
    left = len(message) - LONGEST_MESSAGE
    return message if left <= 0 else f"{message[:LONGEST_MESSAGE]}… and {left:,} characters more"


def _terminate(number: int, frame: Any) -> None:
    raise Terminated(TERMINATED)


def _defect(error: Exception) -> int:
    """Report what should not have happened, with the traceback in a file."""
    import tempfile
    import traceback

    from paribus.report.plain import plain

    with tempfile.NamedTemporaryFile(
        "w", prefix="paribus-", suffix=".log", delete=False, encoding="utf-8",
        errors="backslashreplace",
    ) as file:  # fmt: skip
        file.write("".join(traceback.format_exception(error)))
    typer.echo(
        f"paribus: internal error: {plain(f'{type(error).__name__}: {error}')}\n"
        f"This is a defect of paribus; please report it with {file.name}",
        err=True,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
