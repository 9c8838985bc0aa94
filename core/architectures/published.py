"""What the published ImageNet weights of an architecture expect of a picture.

Preprocessing belongs to a checkpoint as its tensors do, but no file of weights carries it. These
are the values that torchvision publishes with its first ImageNet weights (``IMAGENET1K_V1``); the
later ones (``IMAGENET1K_V2``) differ in ``resize`` alone, which is 232 there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Published:
    """Resize the shorter side to ``resize``, cut out the centre, normalise.

    Attributes:
        resize, crop: pixels; the network's input is RGB of ``crop`` × ``crop``.
        interpolation: antialiased.
        mean, std: per channel, in units where white is 1.
    """

    resize: int = 256
    crop: int = 224
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


PUBLISHED: dict[str, Published] = {
    **dict.fromkeys(
        (
            *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
            *(f"vgg{depth}{form}" for depth in (11, 13, 16, 19) for form in ("", "_bn")),
            "mobilenet_v2",
            "vit_b_16",
            "vit_b_32",
        ),
        Published(),
    ),
    "vit_l_16": Published(resize=242),
}
