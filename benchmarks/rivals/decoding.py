"""Reading a folder of images: paribus, a loop over Pillow, torchvision with a ``DataLoader``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from measuring.contenders import Run, Turn

from paribus import draws, registry, weights
from paribus.adapter import Task
from paribus.architectures import build
from paribus.batches import Schedule
from paribus.data import parallel
from paribus.data.dataset import Array
from paribus.data.source import Source
from paribus.data.sources import image_folder
from paribus.feeding import Feed
from paribus.inputs import Inputs
from paribus.judging import Judge
from paribus.plan import Preprocess
from paribus.progress import Progress
from paribus.spec.data import Data
from paribus.spec.training import Recipe
from paribus.stepping import Steps, Training
from rivals.own_loop import epoch

CLASSES, SIDE, SMALL = 4, 320, 96


def write(folder: Path, count: int) -> None:
    """Write so many JPEGs of 320×320 noisy pixels, in four class folders."""
    from PIL import Image

    noise = draws.integers(0, "noise", 0, (SIDE, SIDE, 3), 40)
    for number in range(count):
        coarse = draws.integers(0, "coarse", number, (8, 8, 3), 200)
        smooth = coarse.repeat(SIDE // 8, axis=0).repeat(SIDE // 8, axis=1)
        pixels = smooth + np.roll(noise, number, axis=0)
        place = folder / f"class{number % CLASSES}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number:05}.jpg", quality=90)


def _source(folder: str) -> Source:
    section = Data.model_validate(
        {"source": "image_folder", "path": folder, "image": {"size": [SMALL, SMALL]}}
    )
    return image_folder.find(section, "classification")


def own(folder: str, threads: int | None = None) -> Run:
    """Return passes over all images, decoded into one array by so many threads."""
    if threads is not None:
        parallel._THREADS = threads
    source = _source(folder)
    assert source.read is not None
    x = source.read(np.arange(len(source.y)))

    def run(passes: int) -> None:
        for _ in range(passes):
            np.asarray(x)

    return run


def pillow(folder: str) -> Run:
    """Return passes of a plain loop: open, resize, to an array."""
    from PIL import Image

    paths = sorted(Path(folder).rglob("*.jpg"))

    def read(path: Path) -> Array:
        with Image.open(path) as image:
            resized = image.convert("RGB").resize((SMALL, SMALL), Image.Resampling.BILINEAR)
            return np.asarray(resized)

    def run(passes: int) -> None:
        for _ in range(passes):
            np.stack([read(path) for path in paths])

    return run


def loader(folder: str, workers: int) -> Run:
    """Return passes of torchvision's ImageFolder through a DataLoader with worker processes."""
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    change = transforms.Compose([transforms.Resize((SMALL, SMALL)), transforms.PILToTensor()])
    batches = DataLoader(ImageFolder(folder, change), 32, num_workers=workers)

    def run(passes: int) -> None:
        for _ in range(passes):
            for _batch in batches:
                pass

    return run


def training(folder: str, streamed: bool) -> Run:
    """Return epochs of a small CNN on the images, decoded before or on the way."""
    source = _source(folder)
    assert source.read is not None
    examples = source.read(np.arange(len(source.y)))
    network = build("cnn", {"channels": [16, 32], "pooling": "average"}, (3, SMALL, SMALL), CLASSES)
    session = registry.get("torch").open(
        network, Task("sgd_momentum", network.trainable("none")),
        device="cpu", precision="float32", numerics="strict",
    )  # fmt: skip
    session.import_weights(weights.draw(network, 0))
    recipe = Recipe.model_validate({
        "epochs": 100_000, "optimizer": {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9},
    })  # fmt: skip
    inputs = Inputs(preprocess=Preprocess((1 / 255,) * 3))
    rows = np.arange(len(source.y), dtype=np.int64)
    schedule = Schedule(recipe, recipe.epochs, rows, 0, "decoding", inputs)
    feed = Feed(session, examples if streamed else np.asarray(examples), source.y)
    work = Training(session, schedule, feed, rows[:0], Judge(inputs, source.y, CLASSES), {},
                    lambda found: None, Progress())  # fmt: skip
    steps = Steps(work)

    def run(passes: int) -> Turn:
        loss = float("nan")
        for _ in range(passes):
            loss = epoch(steps)
            work.position.next_epoch()
        return Turn(loss=loss)

    return run
