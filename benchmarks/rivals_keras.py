"""``keras.fit`` on arrays in memory, with stock layers, its default compilation and the others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
from works import ROWS, Work

from paribus.backends.tensorflow.models import build


def fit(work: Work, jit: bool | str) -> Callable[[int], Any]:
    """Return ``fit`` for so many epochs; ``jit`` is ``jit_compile``, by default ``auto``."""
    x, y = work.data()
    keras.utils.set_random_seed(0)
    # Stock Keras layers, with the initial weights that Keras gives them.
    model, _ = build(work.network, "float32")
    model = keras.models.clone_model(model)
    given = work.optimizer
    optimizer = (
        keras.optimizers.SGD(given["learning_rate"], momentum=given["momentum"])
        if given["name"] == "sgd"
        else keras.optimizers.AdamW(given["learning_rate"], weight_decay=given["weight_decay"])
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=jit)
    read = x
    if work.network.reads_tokens:
        given_by_name = {"input_ids": x, "attention_mask": (x >= 0).astype("int32")}
        zeros = {tensor.name: 0 * x for tensor in model.inputs}
        read = {name: given_by_name.get(name, value) for name, value in zeros.items()}

    def run(epochs: int) -> None:
        model.fit(read, y, batch_size=ROWS, epochs=epochs, shuffle=True, verbose=0)

    return run


KERAS = {
    "keras.fit": partial(fit, jit="auto"),
    "keras.fit jit_compile=True": partial(fit, jit=True),
    "keras.fit jit_compile=False": partial(fit, jit=False),
}
