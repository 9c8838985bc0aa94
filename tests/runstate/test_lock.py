"""One process writes a run folder; the others are told which, and readers are not kept waiting."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from command import Runner, refused
from experiments import small

from paribus.errors import RunFolderError
from paribus.runstate import lock
from paribus.runstate.lock import LOCK, Lock, require_free

HOLDING = """
import sys, time
from pathlib import Path
from paribus.runstate.lock import Lock
held = Lock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", HOLDING, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def test_a_second_process_is_refused_and_told_who_holds_it(run: Runner) -> None:
    finished = run(small())
    before = (finished.folder / "result.json").read_bytes()
    child = holder(finished.folder)
    try:
        who = f"in use by process {child.pid} on {socket.gethostname()!r} since"
        for options in ((), ("--overwrite",), ("--resume", "out")):
            done = run.attempt(small(), *options).done
            refused(done, 1, who)
        # Those who only read are let in.
        words = run.worker("predict", "out", "digits.npy", cwd=run.folder)
        assert "in use" not in words.said
        assert (finished.folder / "result.json").read_bytes() == before
    finally:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    assert (finished.folder / LOCK).exists()  # nobody cleared up after it
    assert run(small(), "--overwrite").result["status"] == "complete"
    assert not (finished.folder / LOCK).exists()


def test_within_a_process_too(tmp_path: Path) -> None:
    with Lock(tmp_path):
        with pytest.raises(RunFolderError, match=f"process {os.getpid()} "):
            Lock(tmp_path)
        with pytest.raises(RunFolderError, match="in use"):
            require_free(tmp_path)
    require_free(tmp_path)
    Lock(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_words_that_nobody_can_read(tmp_path: Path) -> None:
    for words in (b"", b"\xff", b"[]", b'{"pid": "x"}', b"9" * 10_000):
        with Lock(tmp_path):
            (tmp_path / LOCK).write_bytes(words)
            with pytest.raises(RunFolderError, match="in use by another process"):
                Lock(tmp_path)


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(handle: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(lock, "_lock", none)
    with Lock(tmp_path) as first, Lock(tmp_path) as second:
        assert not first.held
        assert not second.held
    require_free(tmp_path)


def test_no_file_is_written_through_a_link(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        Lock(tmp_path / "run")
    assert target.read_text() == "mine"
