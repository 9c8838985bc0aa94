"""What is fuzzed: a name → valid inputs to begin with, and what reads one.

An input is a folder of files, by their names. Readers are called as a run or a command calls them;
where a framework has a process of its own, its reader is called in it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fuzzing import inputs

Files = dict[str, bytes]


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        write: valid inputs, each into a folder of its own below the one that is given.
        read: reads the input in a folder.
    """

    write: Callable[[Path], None]
    read: Callable[[Path], None]

    def valid(self) -> list[Files]:
        """Return the valid inputs."""
        with tempfile.TemporaryDirectory() as top:
            self.write(Path(top))
            return [taken(folder) for folder in sorted(Path(top).iterdir())]


def taken(folder: Path) -> Files:
    """Return the files of a folder, by their paths in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _spec(folder: Path) -> None:
    from paribus.spec import load

    load(next(folder.glob("spec.*")))


def _weights(folder: Path) -> None:
    from paribus import weights

    weights.load(folder / "model.safetensors")


def _pth(folder: Path) -> None:
    from paribus.backends.torch.files import read

    read(folder / "state.pth")


def _h5(folder: Path) -> None:
    from paribus.backends.tensorflow.files import read

    read(folder / "vgg.h5")


def _each(*looks: Callable[[], object]) -> None:
    """Look at everything, whatever is refused; raise the last refusal."""
    from paribus.errors import ParibusError

    refusal: ParibusError | None = None
    for look in looks:
        try:
            look()
        except ParibusError as error:
            refusal = error
    if refusal is not None:
        raise refusal


def _published(folder: Path) -> None:
    from paribus import weights
    from paribus.pretrained import describe

    _each(lambda: describe(folder), lambda: weights.load(folder))


def _run(folder: Path) -> None:
    from paribus.pretrained import describe
    from paribus.result import Result
    from paribus.runstate.opening import is_complete
    from paribus.status import tuning

    result = Result(folder)
    _each(
        lambda: result.history,
        lambda: result.test,
        lambda: (result.model.network, result.model.preprocess, result.model.names),
        lambda: result.model.reader,
        lambda: result.belongings,
        lambda: tuning(result.metrics),
        lambda: is_complete(folder),
        lambda: describe(folder),
    )


def _resumed(folder: Path) -> None:
    from paribus.errors import RunFolderError
    from paribus.runstate.store import Damaged, Store

    store, refusal = Store(folder), None
    for turn in range(2):
        for number in store.numbers:
            if turn:
                # As somebody would make it who knows how manifests are made.
                inputs.sealed(store.path / f"{number:06}")
            try:
                found = store.read(number)
            except Damaged as error:
                refusal = error
                continue
            for ended in found.state.finished:
                if ended.outcome is not None:
                    ended.outcome.trained({})
                if ended.model is not None:
                    store.model(ended.model)
            if found.state.training is not None:
                found.state.training.place.position({})
    if refusal is not None:
        raise RunFolderError(str(refusal))


def _features(folder: Path) -> None:
    from paribus.features.store import Store

    store = Store(folder, 1 << 20)
    store.entries()
    store.find(inputs.ENTRY)
    store.note(inputs.ENTRY, {"1": True})


def _memory(folder: Path) -> None:
    from paribus.tuning.memory import Memory

    Memory(folder).recall("key", inputs.SUBJECT, inputs.AXES)


def _npz(folder: Path) -> None:
    inputs.examples({"source": "npz", "path": str(folder / "data.npz"), "groups": "site"})


def _idx(folder: Path) -> None:
    from paribus.data.sources import idx

    for path in folder.iterdir():
        idx.read(path, (None, 4, 4))


def _table(source: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        place = folder if source == "datasets" else folder / f"data.{source}"
        inputs.examples({"source": source, "path": str(place)})

    return read


def _image(folder: Path) -> None:
    from PIL import Image

    from paribus.data import decode as decoding

    # What 89 million pixels take is promised; with fewer allowed, what takes more is seen.
    decoding.MAXIMUM_PIXELS = 1 << 22
    probe, decode = decoding.probe, decoding.decode
    for path in folder.iterdir():
        probe(path)
        decode(path, 3, (8, 8), Image.Resampling.BILINEAR, (255, 255, 255))
        decode(path, 1, None, Image.Resampling.BILINEAR, (0, 0, 0))


def _text(folder: Path) -> None:
    from paribus.data.passages import encode, from_files

    for path in sorted(folder.iterdir()):
        encode(from_files([path], ("text",)).texts, inputs.TOKENIZER, 8)


def _tokenizer(folder: Path) -> None:
    from paribus.data import tokenizer_files

    whole = folder / "tokenizer.json"
    found = tokenizer_files.read(whole if whole.exists() else folder)
    found.encode(["a cat sat", "", "\N{BLACK HEART SUIT} " * 30], 16)
    found.encode([("a cat", "sat")], 16)
    found.pieces(["the cat"])
    found.decode([0, 1, 2])
    found.tokens((8,))


def _names(folder: Path) -> None:
    from paribus.native.names import read

    read(folder / "names.json")


def _frame(folder: Path) -> None:
    from paribus.channel import Closed, receive

    with (folder / "frame").open("rb") as stream:
        try:
            receive(stream)
        except Closed:
            return


TARGETS: dict[str, Target] = {
    "spec": Target(inputs.specs, _spec),
    "safetensors": Target(inputs.safetensors, _weights),
    "pth": Target(inputs.state_dicts, _pth),
    "h5": Target(inputs.keras_files, _h5),
    "published": Target(inputs.published, _published),
    "run": Target(inputs.runs, _run),
    "checkpoint": Target(inputs.checkpoints, _resumed),
    "features": Target(inputs.features, _features),
    "tuning": Target(inputs.choices, _memory),
    "npz": Target(inputs.archives, _npz),
    "idx": Target(inputs.idx_files, _idx),
    "csv": Target(inputs.csv_files, _table("csv")),
    "jsonl": Target(inputs.json_lines, _table("jsonl")),
    "parquet": Target(inputs.parquet, _table("parquet")),
    "datasets": Target(inputs.saved, _table("datasets")),
    "image": Target(inputs.images, _image),
    "text": Target(inputs.texts, _text),
    "tokenizer": Target(inputs.tokenizers, _tokenizer),
    "names": Target(inputs.names, _names),
    "frame": Target(inputs.frames, _frame),
}
