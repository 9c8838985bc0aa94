"""The port. What had to be said because Keras's default is another is marked with what it is."""

from typing import Any

import keras
from keras import layers, ops


class BatchNorm(layers.BatchNormalization):
    """BatchNorm that keeps the unbiased variance, as PyTorch does; Keras keeps the biased one."""

    def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        """Normalise, and in training update the running statistics."""
        if not training:
            return super().call(inputs, training=False)
        mean, variance = ops.moments(inputs, axes=(0, 1, 2))
        count = ops.cast(ops.size(inputs[..., 0]), inputs.dtype)
        new = 1.0 - self.momentum
        unbiased = variance * count / (count - 1.0)
        self.moving_mean.assign(self.momentum * self.moving_mean + new * mean)
        self.moving_variance.assign(self.momentum * self.moving_variance + new * unbiased)
        return ops.batch_normalization(
            inputs, mean, variance, -1, self.beta, self.gamma, self.epsilon
        )


def gelu(x: Any) -> Any:
    """The exact GELU; TensorFlow's own holds a constant in single precision, also in float64."""
    return 0.5 * x * (1.0 + ops.erf(x / 2.0**0.5))


def build() -> keras.Model:
    """Return the port."""
    inputs = keras.Input((8, 8, 1))
    x = layers.ZeroPadding2D(1)(inputs)  # padding="same" pads a stride of 2 on one side only
    x = layers.Conv2D(16, 3, strides=2, use_bias=False, name="conv1")(x)
    x = BatchNorm(epsilon=1e-5, momentum=0.9, name="bn1")(x)  # 1e-3; momentum is the kept share
    x = layers.ReLU()(x)
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="conv2")(x)
    x = layers.Permute((3, 1, 2))(x)  # flatten (channels, height, width)
    x = layers.Flatten()(x)
    x = layers.Dense(64, name="fc1")(x)
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(x)  # 1e-3
    x = gelu(x)
    return keras.Model(inputs, layers.Dense(10, name="fc2")(x))
