"""A folder of images: one folder per class, or train/, val/ and test/ folders of class folders.

    photos/cat/1.png             photos/train/cat/1.png
    photos/dog/2.png      or     photos/test/cat/7.png

With parts, the images of test/ are the given test set, and those of val/ join the training images,
because the spec's split draws its own. Classes are named and numbered by their folders, sorted;
files are sorted too, so a folder gives the same rows on every machine. Hidden files are ignored;
anything else that is not an image is an error rather than a silently smaller data set.

With ``data.image.unreadable = "skip"`` files that are no images, or damaged ones, are left out,
counted and named. Which ones those are must be known before rows are numbered and split, and is
only known once they are decoded: every file of the folder is then decoded once more, in parallel,
whatever ``classes`` and ``limit`` choose.

A symbolic link is followed as long as it stays within the folder: a data set that somebody else
packed cannot make us read the rest of the disk.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from paribus.architectures import Objective
from paribus.data.dataset import Integers
from paribus.data.decode import FORMATS, SUFFIXES, WHITE, decode
from paribus.data.parallel import parallel
from paribus.data.resize import RESAMPLING
from paribus.data.source import Source, require_objective
from paribus.data.sources.image_files import streamed
from paribus.data.streamed import Streamed
from paribus.errors import DataError, SpecError
from paribus.filenames import is_folder, is_text, shown

if TYPE_CHECKING:
    from paribus.spec.data import Data

PARTS = ("train", "val", "test")


class Listing(NamedTuple):
    """Image files, sorted by class, then by name.

    Attributes:
        labels: their class numbers.
        numbers: their places among all files, those included that were left out.
        skipped: files that were left out.
        files: how many there are, those included.
    """

    paths: list[str]
    labels: list[int]
    numbers: list[int]
    skipped: list[str]
    files: int


def find(section: Data, objective: Objective) -> Source:
    """List the images; they are decoded when rows are read, to uint8 [n, H, W, 1 or 3].

    Before that the header of each chosen file is looked at: what is no image, or has another size,
    is known at once, what is damaged further on only when it is decoded.

    Channels are those of ``data.image.channels``; without it 1 if all images are grey, else 3.
    """
    require_objective(section.source, objective, "classification")
    if section.path is None:
        raise SpecError("data.source = 'image_folder' needs data.path, a folder of class folders")
    root = Path(section.path).expanduser()
    if not is_folder(root):
        raise DataError(f"data.path = {str(root)!r}: there is no such folder")
    top = _folders(root, root)
    if not top:
        raise DataError(
            f"{root}: is empty; expected one folder of images per class, or train/ and test/ "
            "folders of such folders"
        )
    skip = section.image.unreadable == "skip"
    if "train" in top and set(top) <= set(PARTS):
        names = _class_names(root / "train", root)
        parts = [part for part in PARTS if part in top]
        listings = [_listing(root / part, root, names, part == "train", skip) for part in parts]
    else:
        names = tuple(top)
        parts, listings = ["all"], [_listing(root, root, names, True, skip)]
    paths = [path for listing in listings for path in listing.paths]
    y = np.array([label for listing in listings for label in listing.labels], dtype=np.int64)
    before = np.cumsum([0, *(listing.files for listing in listings)])
    numbers = [number + first for listing, first in zip(listings, before, strict=False)
               for number in listing.numbers]  # fmt: skip
    given_test = None
    if parts[-1] == "test":
        given_test = np.arange(len(y) - len(listings[-1].labels), len(y), dtype=np.int64)

    def read(rows: Integers) -> Streamed:
        return streamed([paths[row] for row in rows], section.image)

    return Source(
        str(root),
        y,
        names,
        255.0,
        read,
        given_test=given_test,
        skipped=tuple(shown(path) for listing in listings for path in listing.skipped),
        numbers=np.array(numbers, dtype=np.int64),
    )


def _class_names(folder: Path, root: Path) -> tuple[str, ...]:
    names = tuple(_folders(folder, root))
    if not names:
        raise DataError(f"{folder}: has no class folders; expected one folder of images per class")
    return names


def _listing(
    folder: Path, root: Path, names: tuple[str, ...], complete: bool, skip: bool
) -> Listing:
    """List a part; ``complete``: each class must be there; ``skip``: leave out what is no image."""
    found = _folders(folder, root)
    unknown = [name for name in found if name not in names]
    if unknown:
        raise DataError(
            f"{folder / unknown[0]}: there is no class {unknown[0]!r} in {root / 'train'}; "
            f"allowed: {', '.join(names)}"
        )
    if not found:
        raise DataError(f"{folder}: has no class folders; expected one folder of images per class")
    listing = Listing([], [], [], [], 0)
    for label, name in enumerate(names):
        images = _images(folder / name, root, skip) if name in found else []
        if not images and (complete or name in found):
            raise DataError(
                f"{folder / name}: a class folder without images; add images (formats: "
                f"{', '.join(FORMATS)}) or remove the folder"
            )
        faults = parallel(_fault, images) if skip else [None] * len(images)
        if images and all(faults):
            raise DataError(
                f"{folder / name}: none of its {len(images)} files can be read as an image, and no "
                f"example of the class is left. The first: {faults[0]}"
            )
        kept = [place for place, fault in enumerate(faults) if fault is None]
        listing.paths.extend(str(images[place]) for place in kept)
        listing.labels.extend([label] * len(kept))
        listing.numbers.extend(listing.files + place for place in kept)
        listing.skipped.extend(
            str(path) for path, fault in zip(images, faults, strict=True) if fault is not None
        )
        listing = listing._replace(files=listing.files + len(images))
    return listing


def _fault(path: Path) -> str | None:
    """Return why a file cannot be decoded; None if it can."""
    if path.suffix.lower() not in SUFFIXES:
        return f"{path}: not an image that can be read; allowed: {', '.join(sorted(SUFFIXES))}"
    try:
        decode(path, 3, None, RESAMPLING["nearest"], WHITE)
    except DataError as error:
        return str(error)
    return None


def _folders(folder: Path, root: Path) -> list[str]:
    """Return the names of the folders in ``folder``, sorted; a stray file is an error."""
    names = []
    for path in _entries(folder, root):
        if not path.is_dir():
            raise DataError(
                f"{path}: expected folders here, one per class; move the file into its class "
                "folder, remove it, or hide it (a name that starts with a dot)"
            )
        if not is_text(path.name):
            raise DataError(f"{path}: the name of a class has to be UTF-8 text; rename the folder")
        names.append(path.name)
    return names


def _images(folder: Path, root: Path, skip: bool) -> list[Path]:
    images = _entries(folder, root)
    for path in images:
        if path.is_dir():
            raise DataError(
                f"{path}: a folder within a class folder, which holds images only; parts of the "
                f"data must be called {', '.join(PARTS)}"
            )
        if not path.is_file():
            raise DataError(f"{path}: neither a file nor a folder; remove it")
        if not skip and path.suffix.lower() not in SUFFIXES:
            raise DataError(
                f"{path}: not an image that can be read; allowed: "
                f"{', '.join(sorted(SUFFIXES))}. Convert, remove or hide it (a name that starts "
                "with a dot)"
            )
    return images


def _entries(folder: Path, root: Path) -> list[Path]:
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        for path in paths:
            if path.is_symlink() and not path.resolve().is_relative_to(root.resolve()):
                raise DataError(
                    f"{path}: a symbolic link that leads out of {root}; copy the images into the "
                    "folder instead"
                )
            if not path.exists():
                raise DataError(f"{path}: a symbolic link that leads nowhere; remove it")
    except (OSError, RuntimeError) as error:
        raise DataError(f"{folder}: cannot be listed ({error})") from error
    return paths
