"""Trying a target: in a child, guided by the lines of ours that an input reaches.

The input that a child reads is in its scratch folder, so that one that hangs or kills it is known.
A signal ends a child that takes too long, wherever it is.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from fuzzing.mutations import mutated
from fuzzing.targets import TARGETS, Files, taken
from fuzzing.watching import GROWTH_MIB, Watch, bound, forget_peak, peak_mib

# Of one input, computing and waiting; the valid ones take milliseconds, and machines may be busy.
SECONDS, WAITED = 10, 120
LATE = (signal.SIGPROF, signal.SIGALRM)
SCRATCH, NOTES, FINDINGS = "scratch", "notes.json", "findings"
MOST_FINDINGS = 40
# Calls of a function after which it is not followed line by line each time.
OFTEN = 300


@dataclass
class Tried:
    """What came of a target: counts, and findings by their signature."""

    inputs: int = 0
    read: int = 0
    refused: int = 0
    lines: int = 0
    findings: dict[str, str] = field(default_factory=dict)


class Lines:
    """Which lines of paribus have run, in any thread; a function that is known costs nothing."""

    def __init__(self) -> None:
        self.seen: set[tuple[CodeType, int]] = set()
        # Lines that have not run, of functions of ours; None for everybody else's.
        self._unseen: dict[CodeType, set[int] | None] = {}
        self._calls: Counter[CodeType] = Counter()

    def __enter__(self) -> None:
        threading.settrace(self._call)
        sys.settrace(self._call)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if code not in self._unseen:
            ours = str(frame.f_globals.get("__name__", "")).split(".")[0] == "paribus"
            lines = {line for _, _, line in code.co_lines() if line is not None}
            self._unseen[code] = lines if ours else None
        if not self._unseen[code]:
            return None
        self._calls[code] += 1
        # What has run often without a new line is looked at now and then.
        return self._line if self._calls[code] < OFTEN or self._calls[code] % 16 == 0 else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        unseen = self._unseen[frame.f_code]
        if unseen and frame.f_lineno in unseen:
            unseen.discard(frame.f_lineno)
            self.seen.add((frame.f_code, frame.f_lineno))
            self._calls[frame.f_code] = 0
        return self._line


def put(folder: Path, files: Files) -> None:
    """Make a folder hold these files and nothing else."""
    if set(taken(folder)) - set(files):
        shutil.rmtree(folder)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


class Trial:
    """One child's work on a target.

    Args:
        name: of the target.
        place: a folder for scratch, notes and findings.
        lines: where the lines that are reached are counted.
    """

    def __init__(self, name: str, place: Path, lines: Lines) -> None:
        from paribus.errors import ParibusError

        self.target, self.place = TARGETS[name], place
        self.scratch = place / SCRATCH
        self.watch, self.lines, self.tried = Watch(self.scratch), lines, Tried()
        self.valid = self.target.valid()
        for files in self.valid:
            # Imports what a reader needs, before anything is bounded or heard.
            put(self.scratch, files)
            with contextlib.suppress(ParibusError):
                self.target.read(self.scratch)

    def run(self, seed: int, seconds: float, count: int | None) -> None:
        """Try mutations for so long, or so many of them."""
        rng, corpus = random.Random(seed), list(self.valid)
        for files in self.valid:
            self.one(files)
        end = time.monotonic() + seconds
        while time.monotonic() < end and (count is None or self.tried.inputs < count):
            before = len(self.lines.seen)
            files = self._mutant(corpus, rng)
            self.one(files)
            if len(self.lines.seen) > before:
                corpus.append(files)
        self.note()

    def _mutant(self, corpus: list[Files], rng: random.Random) -> Files:
        files = dict(rng.choice(corpus))
        name = rng.choice(list(files))
        if rng.random() < 0.02 and len(files) > 1:
            del files[name]
            return files
        others = [other[name] for other in rng.sample(corpus, min(4, len(corpus))) if name in other]
        files[name] = mutated(files[name], rng, others)
        return files

    def one(self, files: Files) -> None:
        """Read an input and write down what is wrong with how that went."""
        from paribus.errors import ParibusError

        put(self.scratch, files)
        if self.tried.inputs % 50 == 0:
            self.note()
        self.tried.inputs += 1
        what: str | None = None
        before = forget_peak()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(WAITED)
        self.watch.seen.clear()
        self.watch.listening = True
        try:
            with self.lines, contextlib.redirect_stderr(io.StringIO()):
                self.target.read(self.scratch)
            self.tried.read += 1
        except ParibusError as error:
            self.tried.refused += 1
            if str(error) != str(error).encode("utf-8", "replace").decode():
                what = f"a message that cannot be written: {type(error).__name__}"
        except BaseException as error:
            self.watch.listening = False
            what = _signature(error)
        self.watch.listening = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        # Making the input took memory, too: what was before is not the reader's.
        grown = peak_mib() - before
        if grown > GROWTH_MIB:
            what = what or f"took {grown} MiB"
        for seen in self.watch.seen:
            what = seen
        if what is not None:
            self.found(what, files)

    def found(self, what: str, files: Files) -> None:
        """Keep an input that something is wrong with; one of each signature."""
        signature = what.splitlines()[0]
        if signature not in self.tried.findings:
            kept = self.place / FINDINGS / f"{os.getpid()}-{len(self.tried.findings)}"
            put(kept, files)
            self.tried.findings[signature] = f"{kept}\n{what}"
            self.note()

    def note(self) -> None:
        """Write down how far this is."""
        self.tried.lines = len(self.lines.seen)
        (self.place / NOTES).write_text(json.dumps(vars(self.tried)))


def _signature(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/core/" in f.filename or "/backends/" in f.filename]
    at = (ours or frames)[-1]
    head = f"{type(error).__name__} at {Path(at.filename).name}:{at.lineno} ({at.name})"
    return f"{head}\n{str(error)[:300]}\n" + "".join(traceback.format_tb(error.__traceback__)[-4:])


def child(
    names: list[str], place: Path, seed: int, seconds: float, count: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Try targets in a child; what came of each is in its folder below ``place``."""
    for name in names:
        (place / name).mkdir(parents=True, exist_ok=True)
        (place / name / NOTES).unlink(missing_ok=True)
    command = [sys.executable, "-m", "fuzzing.engine", ",".join(names), str(place), str(seed),
               str(seconds), "-" if count is None else str(count)]  # fmt: skip
    tests = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": tests, "HF_HUB_OFFLINE": "1"}
    environment |= {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def told(place: Path) -> Tried | None:
    """Return what a child has written down of a target."""
    notes = place / NOTES
    return Tried(**json.loads(notes.read_text())) if notes.exists() else None


def explore(name: str, place: Path, seconds: float, seed: int = 0) -> Tried:
    """Try a target for so long, in as many children as it takes; return what came of it."""
    total, end = Tried(), time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and len(total.findings) < MOST_FINDINGS:
        done = child([name], place, seed, left)
        one = told(place / name)
        if one is None:
            raise RuntimeError(f"{name}: its child failed before the first input: {done.stderr}")
        total.inputs += one.inputs
        total.read += one.read
        total.refused += one.refused
        total.lines = max(total.lines, one.lines)
        total.findings |= one.findings
        if done.returncode:
            kept = place / name / FINDINGS / f"ended-{seed}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(place / name / SCRATCH, kept)
            # The inputs since its last note are not counted.
            late = -done.returncode in LATE
            what = "took too long" if late else f"ended {done.returncode}"
            total.findings[f"{what} (seed {seed})"] = f"{kept}\n{done.stderr[:1500]}"
        seed += 1_000_003
    return total


def work(names: list[str], place: Path, seed: int, seconds: float, count: int | None) -> None:
    """Try targets, one after the other, in this process, which is bounded for good."""
    from paribus.checkpoints import foreign

    # Which backends are registered depends on no input, and takes long to find out.
    setattr(foreign, "readers", lru_cache(foreign.readers))  # noqa: B010
    lines = Lines()
    trials = [Trial(name, place / name, lines) for name in names]
    bound()
    # Writes down where the child is, in C as well, and lets the signal end it.
    for late in LATE:
        faulthandler.register(late, chain=True)
    for trial in trials:
        trial.run(seed, seconds, count)


if __name__ == "__main__":
    _names, _place, _seed, _seconds, _count = sys.argv[1:]
    _most = None if _count == "-" else int(_count)
    work(_names.split(","), Path(_place), int(_seed), float(_seconds), _most)
