"""``paribus predict`` and ``paribus export``: what a model is trained, or downloaded, for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paribus.commands.options import AsJson, Device, print_json


def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="[RUN] INPUT...",
            help="A run folder, then image files, texts or files of texts; with --weights no run.",
        ),
    ],
    architecture: Annotated[
        str | None, typer.Option(help="Of a file of --weights: mobilenet_v2, resnet50, …")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Published weights instead of a run: .pth, .safetensors, .h5; or a Hugging Face "
            "folder or hub:owner/name, which need no --architecture."
        ),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="Instead of the run's; see: paribus backends.")
    ] = None,
    device: Device = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to print.")] = 5,
    labels: Annotated[
        Path | None, typer.Option(help="Text file with the classes' names, one a line.")
    ] = None,
    resize: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="With --weights: the shorter side, where it is not the first weights' (256).",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a run's model, or published weights, about images or texts."""
    from paribus.predicting import read_labels

    if architecture is not None and weights is None:
        raise typer.BadParameter("--architecture and --weights belong together; give both")
    names = None if labels is None else read_labels(labels)
    if weights is not None:
        from paribus.checkpoint import Checkpoint

        with Checkpoint(
            architecture,
            weights,
            backend=backend or "auto",
            device=device or "auto",
            resize=resize,
        ) as checkpoint:
            found = checkpoint.ask(inputs, top=top, labels=names)
    else:
        from paribus.errors import RunFolderError
        from paribus.filenames import is_folder
        from paribus.result import Result

        if resize is not None:
            raise typer.BadParameter("--resize goes with --weights; a run has its own sizes")
        run, *asked = inputs
        if not asked:
            raise typer.BadParameter(f"nothing to predict: name files or texts after the run {run}")
        if not is_folder(Path(run)):
            raise RunFolderError(
                f"{run} is not a run folder; published weights need --architecture and --weights"
            )
        with Result(run, backend=backend, device=device) as result:
            found = result.ask(asked, top=top, labels=names)
    if as_json:
        print_json([prediction.as_dict() for prediction in found])
    else:
        from paribus.report.predictions import show_predictions

        show_predictions(found)


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write.")],
    to: Annotated[
        str,
        typer.Option(
            metavar="BACKEND", help="Whose files (see: paribus backends), or onnx, for any runtime."
        ),
    ],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write into a folder that is not empty.")
    ] = False,
) -> None:
    """Write a run's model as a framework's own files or ONNX, whichever backend trained it."""
    from paribus.exporting import export as export_run
    from paribus.report.plain import plain

    for file in export_run(run, to, folder, overwrite=overwrite):
        typer.echo(plain(f"wrote {file}"))
