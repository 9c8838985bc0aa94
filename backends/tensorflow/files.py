"""Keras files of weights (``.h5``): keras.applications' VGG16 and VGG19, and nothing else.

HDF5 is a file system in a file: it has links to other files, datasets whose values are elsewhere,
filters that blow a few bytes up, and objects. A file of weights needs none of it, so only what is
met here is opened: groups that are really in the file, and in them arrays of floats that take as
many bytes of the file as they have values. h5py is enough; TensorFlow is not imported.

Two layouts are published. The older one has a group per layer, by its name, and in it the kernel
and the bias: ``block1_conv1_W_1:0`` in the ImageNet files of 2016, ``block1_conv1/kernel:0`` since.
A whole model saved as ``.h5`` has the same below ``model_weights``. The newer one, of Keras 3's
``.weights.h5``, counts layers of a class: ``layers/conv2d_3/vars/0``.
"""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np

from paribus.adapter import Array
from paribus.architectures.vgg import DEPTHS
from paribus.errors import WeightsError, listed

# keras.applications' layer → canonical module, in the order of computation.
HEAD = {"fc1": "classifier.0", "fc2": "classifier.3", "predictions": "classifier.6"}
ARCHITECTURES = ("vgg16", "vgg19")
# fc1 reads the last feature map, row by row, its channels innermost: 7 × 7 × 512.
SIDE = 7
LEAVES = {"kernel": 0, "W": 0, "bias": 1, "b": 1}
OLD = re.compile(r"(?:model_weights/)?(?P<layer>[a-z0-9_]+)/(?:(?P=layer)/)?"
                 r"(?:(?P=layer)_)?(?P<leaf>kernel|bias|W|b)(?:_1)?(?::0)?")  # fmt: skip
NEW = re.compile(r"layers/(?P<kind>conv2d|dense)(?:_(?P<number>[1-9]\d?))?/vars/(?P<leaf>[01])")
# The state of the optimizer, in the file of a model that was saved in the middle of its training.
DROPPED = ("optimizer", "optimizer_weights")
DEEPEST, MOST = 8, 10_000
FLOATS = tuple(np.dtype(kind) for kind in ("f2", "f4", "f8"))
MENDED = "Save the weights again with model.save_weights(…)"

# (layer, 0 for the kernel and 1 for the bias) → where it stands
Places = dict[tuple[str, int], h5py.Dataset]


def read(path: Path) -> dict[str, Array]:
    """Return a VGG's tensors under torchvision's names and in its layouts.

    The network that they make reads red, green, blue, as every network of paribus: Keras's reads
    blue, green, red, so the input channels of the first kernel change places here. ``fc1`` takes
    its inputs by channel, row, column, as PyTorch flattens; Keras flattens by row, column, channel.
    A file without the three last layers (``notop``) has those of the convolutions alone.

    Raises:
        WeightsError: damaged, another network, or it has what no file of weights needs.
    """
    try:
        with h5py.File(path, "r") as file:
            datasets = _datasets(path, file)
            places = _layers(path, datasets)
            _require_apart(path, datasets)
            return _tensors(path, places)
    except WeightsError:
        raise
    except Exception as error:  # a reader of damaged bytes raises almost anything
        raise WeightsError(
            f"{path} is not a readable Keras file of weights ({type(error).__name__}): damaged, or "
            "of another kind"
        ) from error


def _datasets(path: Path, file: h5py.File) -> dict[str, h5py.Dataset]:
    """Return every dataset of the file by its path, links looked at before they are followed."""
    found: dict[str, h5py.Dataset] = {}
    groups: list[tuple[str, h5py.Group]] = [("", file)]
    seen = 0
    while groups:
        where, group = groups.pop()
        for name in group:
            at = f"{where}{name}"
            seen += 1
            if seen > MOST or at.count("/") > DEEPEST:
                raise WeightsError(f"{path}: too many groups, or too deep; refused at {at[:200]!r}")
            if at in DROPPED:
                continue
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise WeightsError(
                    f"{path}: {at} is a {type(link).__name__}, which leads elsewhere; refused. "
                    f"{MENDED}"
                )
            inner = group[name]
            if isinstance(inner, h5py.Group):
                groups.append((f"{at}/", inner))
            elif isinstance(inner, h5py.Dataset):
                _require_plain(path, at, inner)
                found[at] = inner
            else:
                raise WeightsError(f"{path}: {at} is a {type(inner).__name__}; refused")
    return found


def _require_plain(path: Path, name: str, dataset: h5py.Dataset) -> None:
    """Require an array of floats whose every value is in the file, as it is.

    Raises:
        WeightsError: it is another kind of dataset; its values are not read.
    """
    created, held = dataset.id.get_create_plist(), dataset.id.get_storage_size()
    problems = (
        (dataset.dtype.newbyteorder("=") not in FLOATS, f"its values are {dataset.dtype}"),
        (dataset.is_virtual, "it is put together from other datasets"),
        (created.get_external_count() > 0, "its values are in other files"),
        (created.get_nfilters() > 0, "its values are compressed"),
        (created.get_layout() != h5py.h5d.CONTIGUOUS, "its values are in pieces"),
        (held != dataset.nbytes, f"it claims {dataset.nbytes:,} bytes, but has {held:,}"),
    )
    for found, problem in problems:
        if found:
            raise WeightsError(
                f"{path}: {name} cannot be read: {problem}; allowed: plain arrays of floats. "
                f"{MENDED}"
            )


def _require_apart(path: Path, datasets: dict[str, h5py.Dataset]) -> None:
    """Require that every value has its own bytes of the file: links may repeat an array."""
    end = 0
    places = sorted((d.id.get_offset() or 0, d.nbytes, name) for name, d in datasets.items())
    for start, size, name in places:
        if start < end or start + size > path.stat().st_size:
            raise WeightsError(
                f"{path}: {name} shares bytes with another array, or has more than the file; "
                f"refused. {MENDED}"
            )
        end = start + size


def _layers(path: Path, datasets: dict[str, h5py.Dataset]) -> Places:
    """Return the datasets by keras.applications' layer names.

    Raises:
        WeightsError: it is another model's file.
    """
    new = {name: match for name in datasets if (match := NEW.fullmatch(name))}
    convolutions = {
        int(match["number"] or 0) for match in new.values() if match["kind"] == "conv2d"
    }
    names: dict[str, tuple[str, int]] = {}
    counted = _counted(len(convolutions))
    for name in datasets:
        if match := new.get(name):
            layer = counted.get((match["kind"], int(match["number"] or 0)))
            if layer is not None:
                names[name] = (layer, int(match["leaf"]))
        elif match := OLD.fullmatch(name):
            names[name] = (match["layer"], LEAVES[match["leaf"]])
    known = {layer for architecture in ARCHITECTURES for layer in _modules(architecture)}
    unknown = [name for name in datasets if names.get(name, ("",))[0] not in known]
    if unknown or not datasets:
        raise WeightsError(
            f"{path} is not a file of keras.applications' VGG16 or VGG19, the Keras files that can "
            f"be read; it holds {listed(unknown) or 'no arrays'}"
        )
    places: Places = {}
    for name, place in names.items():
        if place in places:
            raise WeightsError(f"{path}: {name} is there twice")
        places[place] = datasets[name]
    return places


def _counted(convolutions: int) -> dict[tuple[str, int], str]:
    """Return the layers' names by class and count, for the VGG of so many convolutions."""
    for architecture in ARCHITECTURES:
        layers = [layer for layer in _modules(architecture) if layer not in HEAD]
        if len(layers) == convolutions:
            dense = {("dense", number): layer for number, layer in enumerate(HEAD)}
            return {("conv2d", number): layer for number, layer in enumerate(layers)} | dense
    return {}


def _modules(architecture: str) -> dict[str, str]:
    """Return keras.applications' layer names and the canonical modules, in order."""
    found, place = {}, 0
    for block, depth in enumerate(DEPTHS[architecture], start=1):
        for number in range(1, depth + 1):
            found[f"block{block}_conv{number}"] = f"features.{place}"
            # A convolution and its ReLU each have a place there, and so has the pooling.
            place += 2
        place += 1
    return found | HEAD


def _tensors(path: Path, places: Places) -> dict[str, Array]:
    found: dict[str, Array] = {}
    layers = {layer for layer, _ in places}
    architecture = next((a for a in ARCHITECTURES if layers <= _modules(a).keys()), "")
    for layer, module in _modules(architecture).items():
        if layer not in layers:
            continue
        missing = [leaf for number, leaf in enumerate(("kernel", "bias"))
                   if (layer, number) not in places]  # fmt: skip
        if missing:
            raise WeightsError(f"{path}: {layer} has no {missing[0]}")
        kernel, bias = (_values(places[layer, leaf]) for leaf in (0, 1))
        found[f"{module}.weight"] = _weight(path, layer, kernel)
        found[f"{module}.bias"] = bias
    return found


def _values(dataset: h5py.Dataset) -> Array:
    values = np.asarray(dataset[()])
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _weight(path: Path, layer: str, kernel: Array) -> Array:
    """Return a kernel in the canonical layout."""
    if kernel.ndim != (2 if layer in HEAD else 4):
        raise WeightsError(f"{path}: the kernel of {layer} has shape {kernel.shape}")
    if layer == "block1_conv1":
        kernel = kernel[:, :, ::-1]
    if layer == "fc1":
        channels, rest = divmod(len(kernel), SIDE * SIDE)
        if rest:
            raise WeightsError(
                f"{path}: fc1 has {len(kernel):,} inputs; allowed: {SIDE} × {SIDE} × channels, "
                "those of pictures of 224 × 224"
            )
        by_channel = kernel.reshape(SIDE, SIDE, channels, -1).transpose(2, 0, 1, 3)
        kernel = by_channel.reshape(len(kernel), -1)
    axes = (1, 0) if layer in HEAD else (3, 2, 0, 1)
    return np.ascontiguousarray(kernel.transpose(axes))
