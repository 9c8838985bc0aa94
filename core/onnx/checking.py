"""Running what was written: a file counts only when onnxruntime gets numbers out of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from paribus import draws
from paribus.architectures import Network
from paribus.belongings import NOTHING, Belongings
from paribus.errors import RunError
from paribus.onnx import texts
from paribus.onnx.graph import Array
from paribus.onnx.operations import input_name
from paribus.onnx.packages import require
from paribus.onnx.writer import LIMIT, staged, write
from paribus.plan import Preprocess

# A text of this many tokens shows what a longer one does.
LENGTH = 16


def save(
    network: Network,
    tensors: Mapping[str, Array],
    path: Path,
    belongings: Belongings = NOTHING,
    *,
    preprocess: Preprocess | None = None,
    limit: int = LIMIT,
) -> Path:
    """Write an ONNX file that onnxruntime has executed; see ``write``.

    Raises:
        RunError: onnxruntime refuses it, or its outputs are not finite; nothing is written.
        BackendMissing: onnx or onnxruntime is not installed.
        WeightsError, Unsupported, OSError: as ``write``.
    """
    # Before the work, not after it.
    require("onnx", "onnxruntime")
    with staged(path) as file:
        write(network, tensors, file, belongings, preprocess=preprocess, limit=limit)
        for name, found in check(file, example(network)).items():
            if not np.isfinite(found).all():
                raise RunError(
                    f"{path} is not written: {name} are NaN or infinite in float32 for an ordinary "
                    "input; the model's weights are damaged, or its training has diverged"
                )
    return path


def check(path: Path, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Run an ONNX file with onnxruntime on the CPU and return its outputs by name.

    Args:
        path: the file.
        inputs: arrays by name; those that the file does not read are left out.

    Raises:
        BackendMissing: onnxruntime is not installed.
        RunError: it cannot open the file, or execute it for these inputs.
    """
    require("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        read = {value.name for value in session.get_inputs()}
        names = [value.name for value in session.get_outputs()]
        found = session.run(names, {name: x for name, x in inputs.items() if name in read})
    except Exception as error:  # onnxruntime has a class for each of its status codes
        raise RunError(f"onnxruntime cannot execute {path}: {error}") from error
    return dict(zip(names, found, strict=True))


def example(network: Network) -> dict[str, Array]:
    """Return inputs of two examples, always the same; the second text is shorter than the first."""
    if not network.reads_tokens:
        drawn = draws.normal(0, "onnx", 0, (2, *network.input_shape))
        return {input_name(network): drawn.astype(np.float32)}
    shape = (2, min(LENGTH, network.input_shape[0]))
    vocabulary = next(n for n in network.nodes if n.op == "token_embedding").size("vocabulary")
    mask = np.ones(shape, dtype=np.int64)
    mask[1, shape[1] // 2 :] = 0
    return {
        texts.NUMBERS: draws.integers(0, "onnx", 0, shape, vocabulary),
        texts.MASK: mask,
        texts.SEGMENTS: np.zeros(shape, dtype=np.int64),
    }
