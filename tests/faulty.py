"""A disk that fails: one call after another of a piece of work, each in a copy of its folder.

    python tests/faulty.py SCENARIO FAULT FOLDER      (tests/runstate/test_every_write.py)

The work is done once for every call that it makes to the disk (opening a file to write, writing,
syncing, renaming, removing, making or emptying a folder). At that call the process ends as by a
power cut, or the disk is full or read-only from then on. After each, what the scenario promises is
checked, and the work is done again on the disk that is well now.

A power cut takes more than the process: bytes of files that were not synced are lost, too. So
before the process ends, files that are new and not synced are cut in half, and others are cut to
what they were. What is printed, as JSON, are the calls by what they were, and what went wrong.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from paribus import durable
from paribus.errors import RunFolderError
from paribus.features.store import NoRoom

SURVIVED, FAILED, CRASHED, WRONG = 0, 4, 9, 5
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
TAKES_ROOM = {"open", "write", "fsync", "os.mkdir"}
AUDITED = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"}


@dataclass(frozen=True)
class Scenario:
    """A piece of work on a folder.

    Attributes:
        prepare: makes the folder as it is before.
        work: what is interrupted.
        check: raises where something that was good is lost; told the fault.
        again: does the next write and checks it.
    """

    prepare: Callable[[Path], None]
    work: Callable[[Path], None]
    check: Callable[[Path, str], None]
    again: Callable[[Path], None]


class Disk:
    """Counts calls, and fails from the one numbered ``at`` on.

    Args:
        fault: ``crash``, ``full`` or ``readonly``.
        folder: of the work.
    """

    def __init__(self, fault: str, at: int, folder: Path) -> None:
        self.fault, self.at, self.folder = fault, at, folder
        self.calls: list[str] = []
        self._armed = False
        self._synced: set[int] = set()
        self._before = {path.stat().st_ino: path.stat().st_size for path in _files(folder)}
        # Held open, so that their numbers are not given to files that come later.
        self._held = [os.open(path, os.O_RDONLY) for path in _files(folder)]
        self._put, self._fsync = durable.put, os.fsync

    def __enter__(self) -> Disk:
        sys.addaudithook(self._audited)
        durable.put = self._putting
        os.fsync = self._syncing
        self._armed = True
        return self

    def __exit__(self, *_: object) -> None:
        self._armed = False

    def _audited(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._armed:
            return
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING:
            self._called("open")
        elif event in AUDITED:
            self._called(event)

    def _putting(self, file: Any, content: Any) -> None:
        half = memoryview(content)[: len(content) // 2]
        if self.at == len(self.calls):
            self._put(file, half)
        self._called("write")
        self._put(file, content)

    def _syncing(self, handle: int) -> None:
        self._called("fsync")
        self._fsync(handle)
        self._synced.add(os.fstat(handle).st_ino)
        self._held.append(os.dup(handle))

    def _called(self, what: str) -> None:
        self.calls.append(what)
        if len(self.calls) <= self.at:
            return
        if self.fault == "crash":
            self._cut()
        if self.fault == "full" and what in TAKES_ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.fault == "readonly":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def _cut(self) -> NoReturn:
        self._armed = False
        for path in _files(self.folder):
            found = path.stat()
            if found.st_ino in self._before:
                os.truncate(path, min(found.st_size, self._before[found.st_ino]))
            elif found.st_ino not in self._synced:
                os.truncate(path, found.st_size // 2)
        os._exit(CRASHED)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def in_child(work: Callable[[], int]) -> int:
    """Return the exit code of a child that does some work."""
    child = os.fork()
    if not child:
        try:
            code = work()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            code = WRONG
        sys.stderr.flush()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def attempt(scenario: Scenario, fault: str, at: int, folder: Path, told: Path) -> int:
    """Do the work on a disk that fails at its call number ``at``; return how that ended."""

    def work() -> int:
        with Disk(fault, at, folder) as disk:
            try:
                scenario.work(folder)
                code = SURVIVED
            except (OSError, RunFolderError, NoRoom):
                code = FAILED
        told.write_text(json.dumps(disk.calls))
        return code

    return in_child(work)


def every_call(scenario: Scenario, fault: str, root: Path) -> dict[str, Any]:
    """Do the work as often as it has calls; return the calls, and what went wrong at which."""
    before, folder, told = root / "before", root / "folder", root / "calls.json"
    before.mkdir(parents=True)
    scenario.prepare(before)
    shutil.copytree(before, folder)
    assert attempt(scenario, "none", 1 << 30, folder, told) == SURVIVED
    calls = json.loads(told.read_text())
    wrong, endings = [], Counter[int]()
    for at, what in enumerate(calls):
        shutil.rmtree(folder)
        shutil.copytree(before, folder)
        code = attempt(scenario, fault, at, folder, told)
        endings[code] += 1
        try:
            assert code != WRONG, "another error"
            assert (code == CRASHED) == (fault == "crash"), f"ended with {code}"
            scenario.check(folder, fault)
            scenario.again(folder)
        except Exception as error:
            wrong.append(f"{fault} at call {at + 1}, {what}: {error!r}")
    return {"calls": Counter(calls), "wrong": wrong, "failed": endings[FAILED]}


if __name__ == "__main__":
    from faulty_work import SCENARIOS

    name, fault, root = sys.argv[1:]
    print(json.dumps(every_call(SCENARIOS[name], fault, Path(root))))
