"""The same spec on several backends, each in a process of its own, side by side.

A process each, because two frameworks in one share threads, memory and crashes; one after the
other, because they would otherwise time each other.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paribus import registry, runfiles
from paribus.errors import BackendError, ParibusError, RunError, RunFolderError
from paribus.native.agreeing import agreed
from paribus.result import Result
from paribus.runfiles import SPEC
from paribus.spec import dumps
from paribus.spec.sections import Spec

Rows = list[dict[str, Any]]
COMPARISON = "compare.json"


@dataclass(frozen=True)
class Comparison:
    """Runs of one spec on several backends.

    Attributes:
        folder: holds one run folder per backend and ``compare.json``.
        results: by backend, in the order asked for.
        differences: by backend, against the first one: the largest relative difference of a
            training loss at the same optimizer step, the relative difference of the very first
            one, the difference of the test accuracy in examples, and whether choices agree.
    """

    folder: Path
    results: dict[str, Result]
    differences: dict[str, dict[str, Any]] = field(default_factory=dict)

    def table(self) -> list[dict[str, Any]]:
        """Return a row per backend, as JSON values; what ``paribus compare`` prints."""
        return [
            {"backend": name, **_figures(result.metrics), **self.differences.get(name, {})}
            for name, result in self.results.items()
        ]


def compare(
    spec: Spec,
    backends: Sequence[str],
    *,
    device: str | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda message: None,
    show_progress: bool = False,
    accept_names: bool = False,
) -> Comparison:
    """Run a spec on several backends, each in its own process, and compare what they say.

    Args:
        spec: from ``paribus.load``.
        backends: at least two names; the first is the reference.
        device: instead of the spec's.
        out: folder for the run folders; by default the next free ``runs/NAME/compare-N``.
        overwrite: replace earlier runs in ``out``.
        say: told about each backend's start.
        show_progress: let the runs draw their progress bars.
        accept_names: of a spec with ``[native]``, run on a proposed table of names.

    Raises:
        BackendError: a backend is unknown, missing, or named twice.
        RunError: a run failed; the message has its own error.
    """
    names = list(dict.fromkeys(backends))
    if len(names) < 2 or len(names) < len(backends):
        raise BackendError(
            f"compare needs at least two different backends, not {', '.join(backends) or 'none'}; "
            f"registered: {', '.join(registry.names())}"
        )
    for name in names:
        registry.require(name)
    folder = _folder(spec, names, out, overwrite)
    if spec.native is not None:
        say(f"building {spec.name} on {', '.join(names)}")
        spec = agreed(spec, names, folder, accept=accept_names)
        _write_spec(folder, spec)
    results: dict[str, Result] = {}
    for name in names:
        say(f"running {spec.name} on {name}")
        results[name] = _run(spec, name, device, folder / name, overwrite, show_progress)
    reference = results[names[0]]
    comparison = Comparison(
        folder, results, {name: _differences(reference, results[name]) for name in names[1:]}
    )
    text = json.dumps({"reference": names[0], "backends": comparison.table()}, indent=2)
    try:
        (folder / COMPARISON).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise RunFolderError(f"{folder} cannot be written: {error}") from error
    return comparison


def _folder(spec: Spec, names: Sequence[str], out: str | Path | None, overwrite: bool) -> Path:
    """Make the folder that holds one run folder per backend, and ``spec.toml``."""
    try:
        path = _numbered(Path("runs") / spec.name) if out is None else Path(out)
        path.mkdir(parents=True, exist_ok=True)
        held = [name for name in (COMPARISON, *names) if (path / name).exists()]
        if held and not overwrite:
            raise RunFolderError(
                f"{path} already holds {', '.join(held)}; choose another --out, or replace it with "
                "--overwrite"
            )
    except OSError as error:
        raise _unwritable(out or "runs", error) from error
    _write_spec(path, spec)
    return path


def _write_spec(folder: Path, spec: Spec) -> None:
    try:
        (folder / SPEC).write_text(dumps(spec), encoding="utf-8")
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(where: str | Path, error: OSError) -> RunFolderError:
    return RunFolderError(
        f"{where} cannot be written: {error.strerror or error}; choose another place with --out"
    )


def _numbered(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = root / f"compare-{number}"
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path


def _run(
    spec: Spec, name: str, device: str | None, folder: Path, overwrite: bool, show: bool
) -> Result:
    source = folder.parent / SPEC
    # -P: as with the `paribus` script, a file in the user's folder does not pass for a module.
    command = [sys.executable, "-P", "-m", "paribus.cli", "run", str(source), "--backend", name,
               "--device", device or spec.device, "--out", str(folder)]  # fmt: skip
    command += ["--overwrite"] if overwrite else []
    command += [] if show else ["--quiet"]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=None if show else subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        # Our message is the last thing said; a framework may have logged before it.
        said = f"\n{done.stderr or ''}".rpartition("\nparibus: ")[2].strip() or _told(folder)
        failure = RunError(f"the run on {name} ended with exit code {done.returncode}: {said}")
        # Whether the spec has to change, the run failed or was interrupted, it stays the same.
        failure.exit_code = max(1, done.returncode)
        raise failure
    return Result(folder)


def _told(folder: Path) -> str:
    try:
        return str(runfiles.read_result(folder).get("error", {}).get("message", "see above"))
    except ParibusError:
        return "see above"


def _figures(metrics: dict[str, Any]) -> dict[str, Any]:
    steps = metrics.get("steps", {})
    trained = [s for s in steps.values() if isinstance(s, dict) and "images_per_second" in s]
    last = trained[-1] if trained else {}
    test = metrics.get("test") or {}
    return {
        "chosen": steps.get("select", {}).get("chosen"),
        "best_trial": steps.get("optimize", {}).get("best", {}).get("number"),
        "train_loss": last.get("train", {}).get("loss"),
        "validation_loss": (last.get("validation") or {}).get("loss"),
        "test_loss": test.get("loss"),
        "test_accuracy": test.get("accuracy"),
        "images_per_second": last.get("images_per_second"),
        "seconds": metrics.get("seconds"),
        "compile_seconds": metrics.get("compile_seconds"),
        "peak_memory_bytes": metrics.get("peak_memory_bytes"),
    }


def _differences(reference: Result, other: Result) -> dict[str, Any]:
    ours, theirs = _losses(reference.history), _losses(other.history)
    shared = [key for key in ours if key in theirs]
    relative = [abs(ours[key] - theirs[key]) / max(abs(ours[key]), 1e-300) for key in shared]
    a, b = _figures(reference.metrics), _figures(other.metrics)
    examples = (reference.test or {}).get("examples", 0)
    # Of language models it is a share of tokens, not of examples.
    rows = "perplexity" not in (reference.test or {})
    tested = rows and a["test_accuracy"] is not None and b["test_accuracy"] is not None
    apart = round(abs(a["test_accuracy"] - b["test_accuracy"]) * examples) if tested else None
    return {
        "steps_compared": len(shared),
        "first_loss_difference": relative[0] if relative else None,
        "largest_loss_difference": max(relative, default=None),
        "test_examples_apart": apart,
        "same_choices": a["chosen"] == b["chosen"] and a["best_trial"] == b["best_trial"],
    }


def _losses(history: Rows) -> dict[str, float]:
    """Return training losses by what they belong to: step, candidate, fold, trial, step number."""
    measured = {"loss", "learning_rate", "gradient_norm"}
    return {
        json.dumps({k: v for k, v in row.items() if k not in measured}, sort_keys=True): row["loss"]
        for row in history
        if row.get("split") == "train" and row.get("loss") is not None
    }
