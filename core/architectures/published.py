"""What the published ImageNet weights of an architecture expect of a picture.

Preprocessing belongs to a checkpoint as its tensors do, but no file of weights carries it. These
are the values that torchvision publishes with its first ImageNet weights (``IMAGENET1K_V1``); the
later ones (``IMAGENET1K_V2``) differ in ``resize`` alone, which is 232 there.

keras.applications' VGG was trained in another framework, by values from 0 to 255 without their mean
and in the order blue, green, red: what ``preprocess_input`` makes. Its documentation reads pictures
with ``load_img(path, target_size=(224, 224))``, which takes the nearest pixel.
"""

from __future__ import annotations

from dataclasses import replace

from paribus.belongings import ImageProcessing

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

TORCHVISION = ImageProcessing(
    resize=256, crop=(224, 224), interpolation="bilinear", mean=IMAGENET_MEAN, std=IMAGENET_STD,
    half="even",
)  # fmt: skip

PUBLISHED: dict[str, ImageProcessing] = {
    **dict.fromkeys(
        (
            *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
            *(f"vgg{depth}{form}" for depth in (11, 13, 16, 19) for form in ("", "_bn")),
            "mobilenet_v2",
            "vit_b_16",
            "vit_b_32",
        ),
        TORCHVISION,
    ),
    "vit_l_16": replace(TORCHVISION, resize=242),
}

_WHITE = 255.0
_KERAS_VGG = ImageProcessing(
    resize=(224, 224),
    crop=(224, 224),
    interpolation="nearest",
    # Red, green, blue; Keras has them the other way round.
    mean=tuple(value / _WHITE for value in (123.68, 116.779, 103.939)),
    std=(1 / _WHITE,) * 3,
)
KERAS: dict[str, ImageProcessing] = dict.fromkeys(("vgg16", "vgg19"), _KERAS_VGG)
