"""All benchmarks against what users would pick instead, in one command.

    python benchmarks/run.py                              everything, about an hour
    python benchmarks/run.py --only steps,startup         some of it
    python benchmarks/run.py --quick --only steps         whether it still works
    python benchmarks/run.py --out benchmarks/results --readme     the results in README.md

Each section writes SECTION.json (everything measured, the machine, the versions) and SECTION.svg
into the folder; RESULTS.md has the tables of all sections whose results are there, of this run or
an earlier one. Children end with the command.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from measuring import Report, hardware, versions
from measuring.contenders import CLOCKS
from measuring.options import Options
from measuring.processes import ChildFailed

# What can be measured, in the order of the results; the module is imported when it is.
SECTIONS = {
    "steps": "sections.steps",
    "frozen": "sections.frozen",
    "trials": "sections.trials",
    "startup": "sections.startup",
    "decoding": "sections.decoding",
    "growth": "sections.growth",
}
HERE = Path(__file__).parent
BEGIN, END = "<!-- results: written by run.py --readme -->", "<!-- end of results -->"


def measured(name: str, options: Options) -> dict[str, Any]:
    """Measure a section and return what is kept of it."""
    print(f"{name}: measuring", file=sys.stderr, flush=True)
    before, began = hardware(), time.perf_counter()
    report: Report = import_module(SECTIONS[name]).measure(options)
    return {
        "section": name,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "seconds": round(time.perf_counter() - began, 1),
        "quick": options.quick,
        "threads": options.threads,
        "clock": options.clock,
        "device": options.device,
        "hardware": before,
        "versions": versions(),
        "report": report.as_dict(),
    }


def markdown(kept: dict[str, Any], picture: str | None) -> str:
    """Return a section's results; ``picture`` is what its figure is called from where they are."""
    report, place = Report.from_dict(kept["report"]), kept["hardware"]
    device = f"{place['gpu']}, " if kept.get("device") == "cuda" else ""
    packages = ", ".join(f"{name} {version}" for name, version in kept["versions"].items())
    where = (
        f"{kept['date']}, {place['processor']}, {place['cores']} cores, {kept['threads']} threads, "
        f"{'processor' if kept['clock'] == 'cpu' else 'wall'} time, "
        f"{place['memory_gib']} GiB, {device}Python {place['python']}; "
        f"load before: {place['load'][0]}; took {kept['seconds']:.0f} s. {packages}."
    )
    parts = [f"### {report.title}", *(table.markdown() for table in report.tables), report.fair]
    if kept["quick"]:
        parts.insert(1, "A quick run, which shows that it works and not how fast.")
    if picture is not None:
        parts.append(f"![{report.title}]({picture})")
    return "\n\n".join([*parts, where])


def results(out: Path, seen_from: Path) -> str:
    """Return the results of all sections that are in a folder, as Markdown."""
    parts = []
    for name in SECTIONS:
        path, picture = out / f"{name}.json", out / f"{name}.svg"
        if path.exists():
            kept = json.loads(path.read_text(encoding="utf-8"))
            link = Path(os.path.relpath(picture, seen_from)).as_posix()
            parts.append(markdown(kept, link if picture.exists() else None))
    return "\n\n".join(parts)


def put_into(readme: Path, found: str) -> None:
    """Replace what stands between the marks of a README by results."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n\n{found}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Measure what is asked for, one section after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(SECTIONS), metavar="SECTION[,SECTION]")
    parser.add_argument("--works", default="", help="parts of a section: mlp,cnn,resnet,bert")
    parser.add_argument("--quick", action="store_true", help="smallest cases, few rounds")
    parser.add_argument("--rounds", type=int, help="turns of each contender")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--backends", default="torch,tensorflow", help="of paribus, in steps")
    parser.add_argument("--out", type=Path, default=Path("benchmark-results"))
    parser.add_argument("--readme", action="store_true", help="put the results into README.md")
    parser.add_argument("--no-plots", action="store_true", help="without matplotlib")
    given = parser.parse_args()
    names = [name for name in given.only.split(",") if name]
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        parser.error(f"--only {unknown[0]}: allowed are {', '.join(SECTIONS)}")
    works = tuple(name for name in given.works.split(",") if name)
    backends = tuple(name for name in given.backends.split(",") if name)
    options = Options(
        given.quick, given.rounds, given.threads, given.clock, works, given.device, backends
    )
    if not given.no_plots:
        try:
            from measuring.plots import draw
        except ImportError as error:
            parser.error(f"{error}: install it with pip install '.[bench]', or give --no-plots")
    given.out.mkdir(parents=True, exist_ok=True)
    for name in names:
        try:
            kept = measured(name, options)
        except ChildFailed as error:
            sys.exit(f"{name}: {error}")
        (given.out / f"{name}.json").write_text(json.dumps(kept, indent=1), encoding="utf-8")
        picture = given.out / f"{name}.svg"
        picture.unlink(missing_ok=True)
        figures = Report.from_dict(kept["report"]).figures
        if figures and not given.no_plots:
            draw(figures, picture)
        text = results(given.out, given.out)
        (given.out / "RESULTS.md").write_text(f"# Results\n\n{text}\n", encoding="utf-8")
        print(markdown(kept, None), flush=True)
    if given.readme:
        put_into(HERE / "README.md", results(given.out, HERE))


if __name__ == "__main__":
    main()
