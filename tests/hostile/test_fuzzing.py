"""The short form of ``python -m fuzzing``: some inputs for each reader, the same ones each time."""

from __future__ import annotations

from pathlib import Path

from fuzzing.engine import child, told
from fuzzing.targets import TARGETS

COUNT, SECONDS = 30, 60


def test_no_reader_fails_hangs_grows_or_writes_elsewhere(tmp_path: Path) -> None:
    done = child(list(TARGETS), tmp_path, 1, SECONDS, COUNT)
    tried = {name: told(tmp_path / name) for name in TARGETS}
    findings = [what for one in tried.values() if one is not None for what in one.findings.values()]
    assert not findings, "\n\n".join(findings)
    assert done.returncode == 0, done.stderr
    for name, one in tried.items():
        assert one is not None, name
        # The valid inputs are read; a reader that refuses nothing has not been asked much.
        assert one.read >= 1, name
        assert one.inputs >= COUNT, name
