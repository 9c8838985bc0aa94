"""The command: see ``fuzzing``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from fuzzing.engine import explore
from fuzzing.targets import TARGETS


def main() -> int:
    """Fuzz, print a line for each target and each finding; 1 where there are findings."""
    parser = argparse.ArgumentParser(prog="python -m fuzzing", description="Fuzz the readers.")
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="by default all")
    parser.add_argument("--seconds", type=float, default=60, help="of each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where findings are kept; by default in TMPDIR")
    given = parser.parse_args()
    top = given.folder or Path(tempfile.mkdtemp(prefix="paribus-fuzzing-"))
    found = 0
    for name in given.targets or TARGETS:
        tried = explore(name, top, given.seconds, given.seed)
        found += len(tried.findings)
        print(f"{name:12} {tried.inputs:>9,} inputs: {tried.read:,} read, {tried.refused:,} "
              f"refused, {tried.lines:,} lines reached, {len(tried.findings)} findings",
              flush=True)  # fmt: skip
        for what in tried.findings.values():
            print(f"    {what}\n", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
