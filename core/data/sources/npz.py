"""Arrays in an ``.npz`` file: x and y, or x_train, y_train, x_test, y_test (and x_val, y_val).

The file is data and stays data: no pickled object is ever opened. It is read as the zip archive
that it is, each array's header first, so that a type, shape or size that cannot be right is
refused before memory is taken for it. Validation rows of the file join the training rows, because
the spec's split draws its own.

Examples that are too large for the memory (``data.memory``) stay in the file, uncompressed, and are
read row by row. The checksum over all of them is then not looked at: it would take a pass over the
whole file before the first step.

Arrays:
    x                uint8 or float [N, H, W, channels] or [N, H, W]: images, uint8 as 0 … 255,
                     floats as 0 … 1; any number [N, features]: a table
    y                whole numbers [N], 0 … C − 1; for regression numbers [N] or [N, outputs]
    class_names      text [C], if there
    output_names     text [outputs], if there, for regression
    GROUPS           whole numbers or text [N], where data.groups = "GROUPS"; with separate parts
                     they are GROUPS_train, GROUPS_test, …
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from paribus.architectures import Objective
from paribus.data.checks import rows_text
from paribus.data.dataset import Array, Integers
from paribus.data.memory import streams
from paribus.data.source import Source, reader, require_objective
from paribus.data.sources.archive import Archive
from paribus.data.streamed import Examples, joined
from paribus.errors import DataError, SpecError, nearest

if TYPE_CHECKING:
    from paribus.spec.data import Data

PARTS = ("train", "val", "test")
MAXIMUM_CLASSES = 1 << 16


def find(section: Data, objective: Objective) -> Source:
    """Return the file's examples, as they are stored; read when they are needed if too large."""
    require_objective(section.source, objective, "classification", "regression")
    numeric = objective == "regression"
    if section.path is None:
        raise SpecError("data.source = 'npz' needs data.path, the .npz file")
    path = Path(section.path).expanduser()
    with Archive(path) as archive:
        suffixes = _suffixes(archive)
        _check_shapes(archive, suffixes, numeric)
        ys: list[Array] = [
            _numbers(archive, f"y{suffix}") if numeric else _labels(archive, f"y{suffix}")
            for suffix in suffixes
        ]
        y = np.concatenate(ys)
        groups = None if section.groups is None else _groups(archive, section.groups, suffixes, ys)
        key, count = ("output_names", y.shape[1]) if numeric else ("class_names", _classes(y))
        names = _names(archive, key, count)
        if numeric and len(names) != count:
            raise DataError(f"{path}: has {len(names)} output_names, and y has {count} outputs")
        x = _x(archive, suffixes, section)
    given_test = None
    if suffixes[-1] == "_test":
        given_test = np.arange(len(y) - len(ys[-1]), len(y), dtype=np.int64)
    value_range = 255.0 if x.dtype == np.uint8 else 1.0
    return Source(str(path), y, names, value_range, reader(x), groups, given_test)


def _suffixes(archive: Archive) -> list[str]:
    """Return the endings of the file's parts, the test set last."""
    found = [f"_{part}" for part in PARTS if f"x_{part}" in archive]
    if "x" in archive and found:
        raise DataError(
            f"{archive.path}: has both x and x{found[0]}, so it is unclear which is meant; keep "
            "either x and y, or x_train, y_train, x_test, y_test"
        )
    if "x" in archive:
        found = [""]
    elif "_train" not in found:
        raise DataError(
            f"{archive.path}: has {archive.listed()}; expected x and y, or x_train, y_train, "
            "x_test, y_test"
        )
    for suffix in found:
        if f"y{suffix}" not in archive:
            raise DataError(
                f"{archive.path}: has x{suffix} but not y{suffix}, the labels; it has "
                f"{archive.listed()}"
            )
    return found


def _check_shapes(archive: Archive, suffixes: list[str], numeric: bool) -> None:
    first_shape, first_type = archive.header(f"x{suffixes[0]}")
    outputs = archive.header(f"y{suffixes[0]}").shape[1:] if numeric else ()
    for suffix in suffixes:
        shape, dtype = archive.header(f"x{suffix}")
        labels = archive.header(f"y{suffix}").shape
        where = f"{archive.path}: x{suffix} has shape {list(shape)}"
        if dtype.kind not in "uifb":
            raise DataError(f"{where} and dtype {dtype}; allowed: numbers (uint8, float32, …)")
        if len(shape) not in (2, 3, 4):
            raise DataError(
                f"{where}; allowed: [N, features], [N, height, width] or "
                "[N, height, width, channels]"
            )
        if len(shape) > 2 and dtype != np.uint8 and dtype.kind != "f":
            raise DataError(f"{where} and dtype {dtype}; images must be uint8 or float")
        if len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 2, 3, 4):
            raise DataError(
                f"{where}, which looks channels-first; store images as [N, height, width, "
                "channels], for example with x.transpose(0, 2, 3, 1)"
            )
        if labels != shape[:1] + outputs or len(outputs) > 1:
            what = "one row of numbers, as long in all parts," if numeric else "one label"
            raise DataError(
                f"{where} and y{suffix} has shape {list(labels)}; y must hold {what} for each "
                f"of the {shape[0]} examples"
            )
        if shape[1:] != first_shape[1:] or dtype != first_type:
            raise DataError(
                f"{where} and dtype {dtype}, but x{suffixes[0]} has shape {list(first_shape)} and "
                f"dtype {first_type}; examples of all parts must be alike"
            )


def _x(archive: Archive, suffixes: list[str], section: Data) -> Examples:
    keys = [f"x{suffix}" for suffix in suffixes]
    headers = [archive.header(key) for key in keys]
    size = sum(prod(shape) * _kept(shape, dtype).itemsize for shape, dtype in headers)
    if streams(section.memory, size):
        stored = joined([archive.stored(key).streamed() for key in keys])
        return stored.mapped(_examples, "npz")
    parts = [archive.read(key) for key in keys]
    return _examples(parts[0] if len(parts) == 1 else np.concatenate(parts))


def _labels(archive: Archive, key: str) -> Integers:
    dtype = archive.header(key).dtype
    if dtype.kind not in "ui":
        raise DataError(
            f"{archive.path}: {key} has dtype {dtype}; labels must be whole numbers from 0 "
            "(an integer dtype), with their names in class_names"
        )
    stored = archive.read(key)
    outside = np.flatnonzero((stored < 0) | (stored >= MAXIMUM_CLASSES))
    if len(outside):
        raise DataError(
            f"{archive.path}: label {stored[outside[0]]} in {rows_text(outside)} of {key} is out "
            f"of range; allowed: 0 to one less than the number of classes (up to "
            f"{MAXIMUM_CLASSES})"
        )
    return stored.astype(np.int64)


def _numbers(archive: Archive, key: str) -> npt.NDArray[np.float64]:
    dtype = archive.header(key).dtype
    if dtype.kind not in "uif":
        raise DataError(f"{archive.path}: {key} has dtype {dtype}; allowed: numbers")
    stored = archive.read(key).astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(stored).reshape(len(stored), -1).all(axis=1))
    if len(bad):
        raise DataError(
            f"{archive.path}: {key} has NaN or infinity in {rows_text(bad)}; remove those rows"
        )
    return stored.reshape(len(stored), -1)


def _classes(y: Integers) -> int:
    return int(y.max(initial=-1)) + 1


def _names(archive: Archive, key: str, count: int) -> tuple[str, ...]:
    if key not in archive:
        return tuple(str(number) for number in range(count))
    shape, dtype = archive.header(key)
    what = "output" if key == "output_names" else "class"
    if dtype.kind != "U" or len(shape) != 1:
        raise DataError(
            f"{archive.path}: {key} has dtype {dtype} and shape {list(shape)}; expected one "
            f"text per {what}, for example np.array(['cat', 'dog'])"
        )
    stored = archive.read(key)
    if not _is_unicode(stored):
        raise DataError(f"{archive.path}: {key} has a name that is no Unicode text")
    names = tuple(str(name) for name in stored)
    if len(set(names)) < len(names):
        raise DataError(f"{archive.path}: {key} has a name twice: {', '.join(names)}")
    return names


def _is_unicode(texts: Array) -> bool:
    """Return whether an array of NumPy's texts holds characters: it keeps any 32 bits for one."""
    if not texts.nbytes:
        return True
    native = np.ascontiguousarray(texts, dtype=texts.dtype.newbyteorder("="))
    codes = native.view(np.uint32)
    return not bool(((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes <= 0xDFFF))).any())


def _groups(archive: Archive, key: str, suffixes: list[str], ys: list[Array]) -> Integers:
    parts = []
    for suffix, y in zip(suffixes, ys, strict=True):
        name = f"{key}{suffix}"
        if name not in archive:
            raise DataError(
                f"data.groups = {key!r}: {archive.path} has no array {name}; it has "
                f"{archive.listed()}.{nearest(name, archive)}"
            )
        shape, dtype = archive.header(name)
        if dtype.kind not in "uiU" or shape != y.shape[:1]:
            raise DataError(
                f"{archive.path}: {name} has shape {list(shape)} and dtype {dtype}; expected one "
                f"whole number or text for each of the {len(y)} examples"
            )
        parts.append(archive.read(name))
    return np.unique(np.concatenate(parts), return_inverse=True)[1].astype(np.int64)


def _examples(x: Array) -> Array:
    """Return images with a channel axis and tables in a float type, in the machine's byte order."""
    kept = _kept(x.shape, x.dtype)
    return np.ascontiguousarray(x[..., np.newaxis] if x.ndim == 3 else x, dtype=kept)


def _kept(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of the examples that an array of this shape and type becomes."""
    if len(shape) > 2 and dtype == np.uint8:
        return dtype
    # Small whole numbers, half and single precision are exact in float32; the rest need float64.
    exact = np.result_type(dtype, np.float32) if dtype.kind != "b" else np.dtype(np.float32)
    if exact.itemsize > 8:
        raise DataError(f"x has dtype {dtype}; allowed: up to float64")
    return exact.newbyteorder("=")
