"""The King James Bible as a text file, a verse a line, from Debian's packages of it.

    apt-get install bible-kjv bible-kjv-text
    python examples/prepare/kjv.py kjv.txt

The command ``bible`` prints each verse after its reference (``Ge1:1 In the beginning …``), which is
taken off. It is known how many verses there are, so a text that is not all of it is an error.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
from pathlib import Path

ALL = "gen1:1-rev22:21"
VERSES = 31_102
_VERSE = re.compile(r"[1-3]?[A-Za-z]+\d+:\d+ +(\S.*)")
INSTALL = "apt-get install bible-kjv bible-kjv-text"


def main() -> None:
    """Write the file that the command line asks for."""
    parser = argparse.ArgumentParser(description="Write the King James Bible, a verse a line.")
    parser.add_argument("out", type=Path, metavar="OUT.txt")
    out = parser.parse_args().out
    verses = _verses()
    try:
        with out.open("x", encoding="utf-8", newline="\n") as file:
            file.writelines(verse + "\n" for verse in verses)
    except FileExistsError:
        raise SystemExit(f"kjv: {out} exists; remove it, or give another name") from None
    except OSError as error:
        raise SystemExit(f"kjv: {out} cannot be written: {error.strerror}") from error
    print(f"wrote {out}: {len(verses)} verses, {sum(map(len, verses)) + len(verses)} characters")


def _verses() -> list[str]:
    program = shutil.which("bible")
    if program is None:
        raise SystemExit(f"kjv: there is no command 'bible'; on Debian and Ubuntu: {INSTALL}")
    # COLUMNS would be the width at which the program breaks lines.
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    try:
        done = subprocess.run(
            [program, "-f", ALL],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SystemExit(f"kjv: {program} does not run: {error}") from error
    lines = done.stdout.decode("utf-8", errors="replace").splitlines()
    verses = [found[1].rstrip() for line in lines if (found := _VERSE.fullmatch(line))]
    if len(verses) != VERSES or len(lines) != VERSES:
        said = done.stderr.decode("utf-8", errors="replace").strip()
        reason = f" ({said.splitlines()[0][:200]})" if said else ""
        raise SystemExit(
            f"kjv: {program} printed {len(lines)} lines with {len(verses)} verses, expected "
            f"{VERSES}{reason}; is it Debian's program, with its text? {INSTALL}"
        )
    return verses


if __name__ == "__main__":
    main()
