"""``preprocessor_config.json`` → how a picture becomes an input.

transformers has a class of image processors per family, and what a file does not say is that
class's default. The classes below are the ones that resize, cut out the centre, rescale and
normalise and do nothing else. A file that names another one, or asks for more, is refused: to leave
a step out would be to give the network other pictures than it was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from paribus.belongings import ImageProcessing, Interpolation
from paribus.checkpoints.fields import Fields
from paribus.checkpoints.folder import Folder
from paribus.errors import WeightsError, nearest

FILE, NESTED = "preprocessor_config.json", "processor_config.json"
WHITE = 255.0
LARGEST_SIDE = 8192
RESAMPLING: Mapping[int, Interpolation] = {
    0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic",
}  # fmt: skip

_HALF = (0.5, 0.5, 0.5)
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
# Steps that only some classes have; where a file asks for one, it is refused.
_OTHERS = ("do_pad", "do_reduce_labels", "do_flip_channel_order", "do_grayscale", "rescale_offset",
           "include_top")  # fmt: skip


@dataclass(frozen=True)
class _Family:
    """A class of processors: what holds where a file says nothing.

    ``square``: one number for a size means both sides, not the shorter one.
    """

    size: int
    square: bool
    resample: int
    crop: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]


_FAMILIES: dict[str, _Family] = {
    "ViT": _Family(224, True, 2, None, _HALF, _HALF),
    "DeiT": _Family(256, True, 3, 224, _HALF, _HALF),
    "CLIP": _Family(224, False, 3, 224, _CLIP_MEAN, _CLIP_STD),
    "Bit": _Family(224, False, 3, 224, _CLIP_MEAN, _CLIP_STD),
    # Cuts out the centre by a share of the size.
    "ConvNext": _Family(384, False, 3, None, _HALF, _HALF),
}
_SUFFIXES = ("ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "FeatureExtractor")
# What transformers takes where a file does not say.
_OF_MODELS = {"vit": "ViT", "resnet": "ConvNext"}
_WARPED = 384


def image_processing(folder: Folder, model_type: str) -> ImageProcessing | None:
    """Return how a model's folder wants pictures; None where it does not say.

    Raises:
        WeightsError: it wants what paribus cannot do; the message has the key.
    """
    if folder.has(NESTED) and "image_processor" in (nested := folder.fields(NESTED)):
        fields = nested.inner("image_processor")
    elif folder.has(FILE):
        fields = folder.fields(FILE)
    else:
        return None
    name = _family(fields, model_type)
    family = _FAMILIES[name]
    fields.only("do_resize", {True: True}, True)
    for key in _OTHERS:
        fields.only(key, {False: False, None: False}, False)
    resize = _resize(fields, family)
    crop = _crop(fields, family)
    if name == "ConvNext":
        resize, crop = _by_share(fields, resize)
    if crop is None and isinstance(resize, int):
        raise WeightsError(
            f"{fields.file}: size = {resize} of the shorter side without a centre crop leaves "
            "pictures of different sizes; expected do_center_crop with a crop_size"
        )
    found = resize if crop is None else crop
    assert not isinstance(found, int)
    least = (resize, resize) if isinstance(resize, int) else resize
    if found[0] > least[0] or found[1] > least[1]:
        raise WeightsError(f"{fields.file}: crop_size {found} is larger than size {resize}")
    interpolation = fields.only("resample", RESAMPLING, family.resample)
    return ImageProcessing(resize, found, interpolation, *_normalisation(fields, family))


def _family(fields: Fields, model_type: str) -> str:
    default = _OF_MODELS.get(model_type, "")
    given = fields.text("image_processor_type", fields.text("feature_extractor_type", default))
    suffix = next((suffix for suffix in _SUFFIXES if given.endswith(suffix)), "")
    name = given.removesuffix(suffix)
    if name not in _FAMILIES:
        allowed = [f"{family}ImageProcessor" for family in _FAMILIES]
        raise WeightsError(
            f"{fields.file}: image_processor_type = {given!r} is not supported; allowed: "
            f"{', '.join(allowed)}.{nearest(given, allowed)}"
        )
    return name


def _resize(fields: Fields, family: _Family) -> int | tuple[int, int]:
    size = _size(fields, "size", family.square)
    if size is None:
        return (family.size, family.size) if family.square else family.size
    return size


def _crop(fields: Fields, family: _Family) -> tuple[int, int] | None:
    if not fields.flag("do_center_crop", family.crop is not None):
        return None
    size = _size(fields, "crop_size", square=True) or family.crop
    if size is None:
        raise fields.wrong("crop_size", "a height and a width")
    return (size, size) if isinstance(size, int) else size


def _by_share(
    fields: Fields, size: int | tuple[int, int]
) -> tuple[int | tuple[int, int], tuple[int, int]]:
    """Return the resizing and the crop of ConvNext's class, which derives both from one side."""
    if not isinstance(size, int):
        raise fields.wrong("size", "shortest_edge")
    crop = (size, size)
    if size >= _WARPED:
        return crop, crop
    share = fields.number("crop_pct", 224 / 256)
    if not 0 < share <= 1:
        raise fields.wrong("crop_pct", "a share of the picture between 0 and 1")
    return int(size / share), crop


def _size(fields: Fields, key: str, square: bool) -> int | tuple[int, int] | None:
    value = fields.values.get(key)
    if value is None:
        return None
    if isinstance(value, int):
        side = fields.integer(key, high=LARGEST_SIDE)
        return (side, side) if square else side
    if isinstance(value, list):
        sides = fields.integers(key, high=LARGEST_SIDE)
        if len(sides) != 2:
            raise fields.wrong(key, "a height and a width")
        return (sides[0], sides[1])
    inner = fields.inner(key)
    keys = {name for name in inner.values if name in inner}
    if keys == {"shortest_edge"}:
        return inner.integer("shortest_edge", high=LARGEST_SIDE)
    if keys == {"height", "width"}:
        height, width = (inner.integer(name, high=LARGEST_SIDE) for name in ("height", "width"))
        return height, width
    raise fields.wrong(key, "one number, {shortest_edge}, or {height, width}")


def _normalisation(fields: Fields, family: _Family) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation where white is 1."""
    white = WHITE * fields.number("rescale_factor", 1 / WHITE)
    white = white if fields.flag("do_rescale", True) else WHITE
    if white <= 0:
        raise fields.wrong("rescale_factor", "a number above 0")
    mean, std = (0.0,) * len(family.mean), (1.0,) * len(family.std)
    if fields.flag("do_normalize", True):
        mean = _each(fields, "image_mean", family.mean)
        std = _each(fields, "image_std", family.std)
    if len(mean) != len(std) or len(mean) not in (1, 3):
        raise fields.wrong("image_mean", "as many numbers as image_std, one or three")
    if min(std) <= 0:
        raise fields.wrong("image_std", "numbers above 0")
    # What white becomes: 1 where a file rescales by 1/255 as written.
    white = 1.0 if abs(white - 1) < 1e-12 else white
    return tuple(m / white for m in mean), tuple(s / white for s in std)


def _each(fields: Fields, key: str, default: tuple[float, ...]) -> tuple[float, ...]:
    """Return a number for each channel; one that is not in a list is that of all colours."""
    values = fields.numbers(key, default)
    one = key in fields and not isinstance(fields.values[key], list)
    return values * len(default) if one else values
