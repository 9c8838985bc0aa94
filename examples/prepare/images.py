"""A folder of class folders of images, such as paribus' source ``image_folder`` reads.

    apt-get install dataset-fashion-mnist
    python examples/prepare/images.py clothes --per-class 200

The images are the first ones of each class among Fashion-MNIST's training images (Xiao, Rasul,
Vollgraf 2017), as PNG files of 28×28 grey pixels; a spec's ``data.image`` makes other sizes of
them. Files are called by the image's number in the original, folders by its class.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paribus.data.sources import Source


def main() -> None:
    """Write the folder that the command line asks for."""
    parser = argparse.ArgumentParser(description="Write Fashion-MNIST as folders of PNG files.")
    parser.add_argument("out", type=Path, metavar="OUT_DIR", help="a new or empty folder")
    parser.add_argument("--per-class", type=int, default=100, metavar="N", help="default: 100")
    parser.add_argument("--classes", metavar="A,B,…", help="numbers or names; default: all ten")
    parser.add_argument(
        "--path", type=Path, help="the folder of the four idx files, if not Debian's"
    )
    arguments = parser.parse_args()
    try:
        from paribus.errors import ParibusError
    except ImportError:
        raise SystemExit(
            "images: this Python has no paribus; run .venv/bin/python examples/prepare/images.py"
        ) from None
    try:
        source = _source(arguments.path)
        chosen = _chosen(arguments.classes, source.class_names)
        _write(source, arguments.out, chosen, arguments.per_class)
    except ParibusError as error:
        raise SystemExit(f"images: {error}") from error
    except OSError as error:
        raise SystemExit(f"images: {error.filename} cannot be written: {error.strerror}") from error
    count = len(chosen) * arguments.per_class
    print(
        f"wrote {arguments.out}: {count} PNG images of 28×28 pixels, {arguments.per_class} of each "
        f"of {len(chosen)} classes"
    )


def _source(path: Path | None) -> Source:
    from paribus.data.sources import fashion_mnist
    from paribus.spec.data import Data

    return fashion_mnist.find(
        Data(source="fashion_mnist", path=str(path) if path else None), "classification"
    )


def _chosen(wanted: str | None, names: tuple[str, ...]) -> list[int]:
    from paribus.errors import SpecError, nearest

    if wanted is None:
        return list(range(len(names)))
    known = {name.lower(): number for number, name in enumerate(names)}
    known |= {str(number): number for number in range(len(names))}
    words = [word.strip() for word in wanted.split(",")]
    for word in words:
        if word.lower() not in known:
            raise SpecError(
                f"--classes: there is no class {word!r}.{nearest(word, names)} Allowed, separated "
                f"by commas: 0 to {len(names) - 1}, or {', '.join(names)}"
            )
    chosen = [known[word.lower()] for word in words]
    if len(set(chosen)) < len(chosen):
        raise SpecError(f"--classes {wanted}: names a class twice")
    return chosen


def _write(source: Source, out: Path, chosen: list[int], per_class: int) -> None:
    import numpy as np
    from PIL import Image

    from paribus.errors import SpecError

    # The test images come last, so the training images keep their numbers.
    training = source.y if source.given_test is None else np.delete(source.y, source.given_test)
    fewest = min(int((training == number).sum()) for number in chosen)
    if not 1 <= per_class <= fewest:
        raise SpecError(f"--per-class {per_class}: allowed: 1 to {fewest}, as many as there are")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SpecError(f"{out} is not an empty folder; remove it, or give another name")
    for number in chosen:
        folder = out / source.class_names[number].replace("/", "-")
        folder.mkdir(parents=True)
        rows = np.flatnonzero(training == number)[:per_class]
        for row, pixels in zip(rows, source.read(rows), strict=True):
            Image.fromarray(pixels[:, :, 0]).save(folder / f"{row:05d}.png")


if __name__ == "__main__":
    main()
