"""What others do to a run: a file that changes under it, a process that is killed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from command import Run, Runner, refused
from experiments import Tree, changed, save_npz, small, table
from resumed import same

from paribus.data import parallel

Faulty = Callable[..., Runner]


def streamed(file: Path) -> Tree:
    return small(
        backend="scanty",
        data={"source": "npz", "path": str(file), "memory": "stream"},
        finetune={"epochs": 4, "batch_size": 4, "keep": "last"},
    )


def test_a_file_that_changes_under_a_run_can_be_brought_back(
    faulty: Faulty, tmp_path: Path
) -> None:
    x, y = table(60)
    file = save_npz(tmp_path / "set.npz", x, y)
    whole = faulty(tmp_path)(streamed(file), out="whole")
    content, stat = file.read_bytes(), file.stat()
    failed = faulty(tmp_path, touches=str(file)).attempt(streamed(file), out="changed")
    was, now = f"of {len(content):,} bytes", f"of {len(content) + 1:,} bytes"
    refused(failed.done, 2, str(file), "has changed while the run was", was, now, "go on with")
    assert failed.result["status"] == "failed"
    # All that was done until then is kept.
    assert failed.result["optimizer_steps"] > 4
    file.write_bytes(content)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    done = faulty(tmp_path).worker(
        "run", "changed.json", "--resume", "changed", cwd=tmp_path
    )  # fmt: skip
    assert done.code == 0, done.err
    same(Run(failed.folder, done), whole)


def test_other_bytes_of_the_same_size_and_time_are_seen_by_their_hash(
    faulty: Faulty, tmp_path: Path
) -> None:
    # Larger than what opening an archive reads, so that its checksum is not looked at.
    x, y = table(60, features=100)
    file = save_npz(tmp_path / "set.npz", x, y)
    content, stat = file.read_bytes(), file.stat()
    tree = changed(streamed(file), checkpoints={"steps": 5})
    whole = faulty(tmp_path)(tree, out="whole")
    place = content.index(x.tobytes()) + 20_000
    # Under a run: it is seen at its end, and no state is left that may be of both.
    failed = faulty(tmp_path, alters=[str(file), place]).attempt(tree, out="under")
    refused(failed.done, 1, str(file), "holds something else than when the run began")
    assert failed.result["status"] == "failed"
    assert "go on with" not in failed.done.said
    assert not list(failed.folder.glob("checkpoints/0*"))
    # Between two legs: what the run began with, it goes on with, whatever its time.
    file.write_bytes(content)
    legs = faulty(tmp_path)(tree, "--stop-after", "12", out="legs").folder
    for found in (bytes([*content[:place], content[place] ^ 1, *content[place + 1 :]]), content):
        file.write_bytes(found)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + (found == content)))
        done = faulty(tmp_path).worker("run", "legs.json", "--resume", "legs", cwd=tmp_path)
        if found != content:
            refused(done, 2, "the data of [data] has changed since")
    assert done.code == 0, done.err
    same(Run(legs, done), whole)


def test_a_file_that_is_only_touched_is_no_other(faulty: Faulty, tmp_path: Path) -> None:
    file = save_npz(tmp_path / "set.npz", *table(60))
    whole = faulty(tmp_path)(streamed(file), out="whole")
    same(faulty(tmp_path, renews=str(file))(streamed(file), out="touched"), whole)


def test_the_process_of_a_backend_that_is_killed(faulty: Faulty, tmp_path: Path) -> None:
    runner = faulty(tmp_path, after=1)
    spec = runner.write(small())
    done = runner.worker("verify", spec, "--backends", "torch,scanty", cwd=tmp_path)
    assert done.code == 1
    assert "'scanty' ended with code -9 during" in done.said
    assert "killed from outside" in done.said
    assert "Traceback" not in done.said


def test_decoding_needs_no_process_that_could_be_killed() -> None:
    """It is done by threads: they end with the run, and a run with them."""
    here = set(parallel.parallel(lambda _: os.getpid(), list(np.arange(64))))
    assert here == {os.getpid()}
