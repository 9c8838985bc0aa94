"""``keras.fit`` on TensorFlow, arrays in memory, stock layers; timed from its first epoch on.

The data lies in the order of the first epoch and is not shuffled, which costs it less.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from measuring.contenders import Run, Turn, clock

from paribus import registry
from rivals.works import ROWS, WORKS


def setup(work: str, jit: bool | None = None) -> Run:
    """Return calls of ``fit``; ``jit`` is ``jit_compile``, None for Keras's default."""
    chosen = WORKS[work]
    backend = registry.get("tensorflow")
    backend.devices()  # imports Keras on TensorFlow
    import keras

    class Clock(keras.callbacks.Callback):
        began = seconds = 0.0

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 0:
                self.began = clock()

        def on_train_end(self, logs: Any = None) -> None:
            self.seconds = clock() - self.began

    with backend.open(
        chosen.network, chosen.task(), device="cpu", precision="float32", numerics="strict"
    ) as session:
        session.import_weights(chosen.weights())
        # A model of stock layers, which belongs to whoever asked for it.
        model = session.native()
    given = dict(chosen.optimizer)
    kind = {"sgd": keras.optimizers.SGD, "adamw": keras.optimizers.AdamW}[given.pop("name")]
    if kind is keras.optimizers.AdamW:
        given["epsilon"] = 1e-8
    update = kind(**given)
    if kind is keras.optimizers.AdamW:
        update.exclude_from_weight_decay(
            var_list=[v for v in model.trainable_variables if len(v.shape) < 2]
        )
    model.compile(
        update,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile="auto" if jit is None else jit,
    )
    x, y = chosen.data()
    order = chosen.orders()[0]
    read: Any = x[order]
    if chosen.network.reads_tokens:
        constant = {"attention_mask": 1, "token_type_ids": 0}
        read = {
            name: np.full_like(read, constant[name]) if name in constant else read
            for name in (tensor.name for tensor in model.inputs)
        }
    labels = y[order]

    def run(steps: int) -> Turn:
        clock, epochs = Clock(), steps // chosen.epoch_steps
        done = model.fit(
            read, labels, batch_size=ROWS, epochs=epochs, shuffle=False, verbose=0,
            callbacks=[clock],
        )  # fmt: skip
        return Turn(clock.seconds, float(done.history["loss"][-1]))

    return run
