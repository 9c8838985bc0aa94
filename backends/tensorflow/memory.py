"""How TensorFlow says that memory is not there: by an error of its own, on every device."""

from __future__ import annotations

import tensorflow as tf

from paribus.exhaustion import Exhaustion

memory = Exhaustion("tensorflow", lambda error: isinstance(error, tf.errors.ResourceExhaustedError))
