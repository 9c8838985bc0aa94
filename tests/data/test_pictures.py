"""Files that predictions are wanted for: which of their pixels a network sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from photographs import CAT, CHINA, COFFEE
from PIL import Image

from paribus.architectures.published import PUBLISHED, TORCHVISION
from paribus.data import pictures
from paribus.errors import DataError, SpecError
from paribus.spec import load


@pytest.mark.parametrize(("width", "left"), [(259, 18), (257, 16), (256, 16), (300, 38)])
def test_the_centre_is_cut_out_as_torchvision_rounds(tmp_path: Path, width: int, left: int) -> None:
    """Half a pixel is rounded to the even side: 17.5 and 18.5 both to 18, 16.5 to 16."""
    columns = np.broadcast_to(np.arange(width, dtype=np.uint16)[:, None], (256, width, 3))
    Image.fromarray((columns % 256).astype(np.uint8)).save(tmp_path / "columns.png")
    (seen,) = pictures.published([tmp_path / "columns.png"], TORCHVISION)
    assert seen.shape == (224, 224, 3)
    assert seen[0, :, 0].tolist() == [column % 256 for column in range(left, left + 224)]


def test_the_shorter_side_is_resized_whichever_it_is(tmp_path: Path) -> None:
    for name, size in (("wide.png", (600, 300)), ("tall.png", (30, 60))):
        Image.new("RGB", size, (10, 20, 30)).save(tmp_path / name)
    files = [tmp_path / "wide.png", tmp_path / "tall.png"]
    seen = pictures.published(files, replace(TORCHVISION, resize=232))
    assert seen.shape == (2, 224, 224, 3)
    assert (seen == (10, 20, 30)).all()


def test_a_grey_file_is_seen_in_colour(tmp_path: Path) -> None:
    Image.new("L", (300, 300), 77).save(tmp_path / "grey.jpg")
    assert (pictures.published([tmp_path / "grey.jpg"], TORCHVISION) == 77).all()


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    Image.new("L", (1, 5000)).save(tmp_path / "thin.png")
    with pytest.raises(DataError, match=r"thin\.png: 1×5000 would become 256×1280000"):
        pictures.published([tmp_path / "thin.png"], TORCHVISION)


@pytest.mark.parametrize("photograph", [CAT, COFFEE, CHINA], ids=lambda path: path.stem)
def test_a_run_that_covers_sees_what_published_weights_see(photograph: Path) -> None:
    """The centre of the centre: 256×256 are stored, and 224×224 of them are the input."""
    (stored,) = pictures.fitted([photograph], (256, 256), 3, "bilinear", (255, 255, 255), "cover")
    (expected,) = pictures.published([photograph], PUBLISHED["mobilenet_v2"])
    assert (stored[16:240, 16:240] == expected).all()
    (stretched,) = pictures.fitted([photograph], (256, 256), 3, "bilinear", (255, 255, 255))
    assert (stretched != stored).any()


def test_what_covers_needs_a_square() -> None:
    for image in ({"fit": "cover"}, {"fit": "cover", "size": [8, 9]}):
        with pytest.raises(SpecError, match="needs a square size"):
            load({"data": {"image": image}})
