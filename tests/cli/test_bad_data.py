"""Data that cannot be what a spec says: exit code 2, one message, and no folder made for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import Runner, refused
from experiments import Tree, changed, save_npz, small, table
from PIL import Image

SELECT = {"steps": ["select"], "select": {"candidates": [{"name": "mlp"}]}}


def data_refused(run: Runner, tree: Tree, *words: str) -> None:
    """Assert exit code 2 and the words, before a run folder is made."""
    failed = run.attempt(tree, out="refused")
    refused(failed.done, 2, *words)
    assert not failed.folder.exists()


def test_folds_above_examples(run: Runner) -> None:
    tree = small(**changed(SELECT, select__folds=100, select__scheme="kfold"))
    data_refused(run, tree, "select.folds = 100", "72 development rows")


def test_a_class_too_small_for_its_folds(run: Runner) -> None:
    tree = small(**changed(SELECT, select__folds=30))
    data_refused(run, tree, "select.folds = 30", "fewer than the folds")


def test_a_class_missing_in_a_fold(run: Runner) -> None:
    x, y = table(40, classes=2)
    path = save_npz(run.folder / "x.npz", np.vstack((x, x[:1])), [*y, 2])
    tree = small(**changed(SELECT, select__scheme="kfold"))
    tree["data"] = {"source": "npz", "path": str(path), "split": {"stratify": False}}
    data_refused(run, changed(tree, data__split={"test": 0.2, "validation": 0.1}), "class '2'")


def test_groups_that_are_not_there(run: Runner) -> None:
    tree = small(**changed(SELECT, select__scheme="grouped"))
    data_refused(run, tree, "select.scheme = 'grouped'", "data.groups")


ARRAYS: dict[str, tuple[Any, Any, tuple[str, ...]]] = {
    "label below": (np.ones((30, 3)), [-1, *[0, 1] * 14, 1], ("label -1", "row 0")),
    "label above": (np.ones((30, 3)), [10**6, *[0, 1] * 14, 1], ("label 1000000", "row 0")),
    "a class without examples": (np.ones((30, 3)), [0, 2] * 15, ("no example of class '1'",)),
    "one class": (np.ones((30, 3)), [0] * 30, ("at least 2",)),
    "not a number": (np.full((30, 3), np.nan), [0, 1] * 15, ("NaN or infinity in rows 0, 1",)),
    "infinity": (np.full((30, 3), np.inf), [0, 1] * 15, ("NaN or infinity",)),
    "lengths": (np.ones((30, 3)), [0, 1], ("x has shape [30, 3] and y has shape [2]",)),
    "nothing": (np.ones((0, 3)), [], ("no examples",)),
    "text": (np.array([["a"]] * 30), [0, 1] * 15, ("allowed: numbers",)),
}


@pytest.mark.parametrize(("x", "y", "words"), ARRAYS.values(), ids=ARRAYS)
def test_arrays(run: Runner, x: Any, y: list[int], words: tuple[str, ...]) -> None:
    path = save_npz(run.folder / "x.npz", x, y)
    data_refused(run, small(data={"source": "npz", "path": str(path)}), "x.npz", *words)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"\x93NUMPY"])
def test_files_that_are_no_npz(run: Runner, content: bytes) -> None:
    path = run.folder / "x.npz"
    path.write_bytes(content)
    data_refused(run, small(data={"source": "npz", "path": str(path)}), "x.npz")


def test_missing_data(run: Runner) -> None:
    for source in ("npz", "image_folder", "fashion_mnist"):
        tree = small(data={"source": source, "path": "nowhere"})
        refused(run.attempt(tree, "--overwrite").done, 2, "nowhere")


@pytest.fixture
def images(run: Runner) -> Path:
    for index in range(20):
        folder = run.folder / "images" / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 9 * index).save(folder / f"{index}.png")
    return run.folder / "images"


def test_an_empty_folder(run: Runner, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    data_refused(run, small(data={"source": "image_folder", "path": "images"}), "is empty")


def test_a_class_without_images(run: Runner, images: Path) -> None:
    (images / "c").mkdir()
    data_refused(run, small(data={"source": "image_folder", "path": str(images)}), "without images")


@pytest.mark.parametrize("kept", [0, 40], ids=["empty", "truncated"])
def test_an_image_that_cannot_be_read(run: Runner, images: Path, kept: int) -> None:
    broken = images / "a" / "2.png"
    broken.write_bytes(broken.read_bytes()[:kept])
    data_refused(run, small(data={"source": "image_folder", "path": str(images)}), str(broken))


def test_images_that_cannot_be_read_are_left_out_and_named(run: Runner, images: Path) -> None:
    for name in ("a/2.png", "b/5.png"):
        (images / name).write_bytes(b"?")
    source = {"source": "image_folder", "path": str(images), "image": {"unreadable": "skip"}}
    split = {"validation": 0.2, "test": 0.2}
    done = run(small(data={**source, "split": split}), "--verbose")
    files = [str(images / name) for name in ("a/2.png", "b/5.png")]
    assert done.result["data"] == {"streamed": False, "skipped": 2, "skipped_files": files}
    assert f"2 files could not be read and were left out, first {files[0]}" in done.done.said
    for path in (images / "a").iterdir():
        path.write_bytes(b"?")
    data_refused(run, small(data=source), "a: none of its 10 files can be read", str(images / "a"))


def test_images_too_small_for_the_network(run: Runner) -> None:
    model = {"architecture": "cnn", "channels": [2, 2, 2, 2, 2]}
    data_refused(run, small(model=model), "too small", "data.image.size")
