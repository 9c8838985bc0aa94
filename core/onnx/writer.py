"""From a graph to a file: protobuf messages, weights inside or beside them, complete or not at all.

A protobuf message ends at 2 GiB, so larger weights go to a file of their own, tensor after tensor,
and never all into memory a second time.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from paribus import weights
from paribus.architectures import LANGUAGE, Network
from paribus.belongings import NOTHING, Belongings
from paribus.errors import WeightsError
from paribus.onnx import texts
from paribus.onnx.graph import TRANSPOSED, Array, Graph, Operator
from paribus.onnx.operations import input_name, output_name, translate
from paribus.onnx.packages import require
from paribus.plan import Preprocess

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

# The versions of onnxruntime 1.17 and older runtimes.
OPSET, IR_VERSION = 17, 8
# Bytes of weights in one message, which needs room for the graph itself.
LIMIT = 2_000_000_000
# Where tensors start in a file of weights, so that a runtime can map them into memory.
ALIGNMENT = 4096
BATCH, TOKENS = "batch", "tokens"


def write(
    network: Network,
    tensors: Mapping[str, Array],
    path: Path,
    belongings: Belongings = NOTHING,
    *,
    preprocess: Preprocess | None = None,
    limit: int = LIMIT,
) -> Path:
    """Write a network with its weights as an ONNX file, as ``paribus.onnx`` describes it.

    It has passed onnx's own checker, with the shapes of all values, before it is at ``path``; until
    then, whatever is there stays.

    Args:
        network: what is computed.
        tensors: all canonical tensors, of any float type; stored as float32.
        path: the file; its folder is made if need be, and a file that is there is replaced.
        belongings: what goes into the metadata.
        preprocess: from stored examples to inputs, for the metadata; not of texts, which have none.
        limit: bytes of weights above which they go to ``path`` with ``.data`` behind its name.

    Raises:
        BackendMissing: onnx is not installed.
        WeightsError: tensors are missing, extra or misshapen, or too large for float32.
        Unsupported: an operation has no translation.
        OSError: the file cannot be written.
    """
    require("onnx")
    import onnx

    weights.check(tensors, weights.shapes(network))
    graph = translate(network)
    with staged(path) as file:
        model = _model(network, graph)
        size = 4 * sum(prod(tensors[name].shape) for name in graph.weights.values())
        if size > limit:
            with file.with_name(f"{file.name}.data").open("xb") as data:
                _add_weights(model, graph, tensors, data)
        else:
            _add_weights(model, graph, tensors, None)
        onnx.helper.set_model_props(model, _metadata(network, belongings, preprocess))
        file.write_bytes(model.SerializeToString())
        del model
        onnx.checker.check_model(str(file), full_check=True)
    return path


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Yield a path of the same name in a folder of its own; move what is there when all went well.

    Files beside it, whose names start with its name, are moved too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".paribus-") as folder:
        yield Path(folder) / path.name
        files = sorted(Path(folder).iterdir(), key=lambda file: file.name == path.name)
        if len(files) > 1:
            # A model that is replaced must at no time be seen with the weights of its successor.
            path.unlink(missing_ok=True)
        for file in files:
            file.replace(path.parent / file.name)


def _model(network: Network, graph: Graph) -> ModelProto:
    """Return the message without the weights."""
    from onnx import helper, numpy_helper

    nodes = [_node(operator) for operator in graph.operators]
    constants = [numpy_helper.from_array(array, name) for name, array in graph.constants.items()]
    made = helper.make_graph(
        nodes, network.architecture, _inputs(network, graph), [_output(network)], constants
    )
    return helper.make_model(
        made,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="paribus",
        producer_version=version("paribus"),
    )


def _node(operator: Operator) -> NodeProto:
    from onnx import helper

    node = helper.make_node(operator.op, operator.inputs, operator.outputs, operator.outputs[0])
    for name, value in operator.attributes.items():
        node.attribute.append(helper.make_attribute(name, value))
    return node


def _inputs(network: Network, graph: Graph) -> list[ValueInfoProto]:
    from onnx import TensorProto, helper

    if not network.reads_tokens:
        shape: list[str | int] = [BATCH, *network.input_shape]
        return [helper.make_tensor_value_info(input_name(network), TensorProto.FLOAT, shape)]
    return [
        helper.make_tensor_value_info(name, TensorProto.INT64, (BATCH, TOKENS))
        for name in texts.INPUTS
        if graph.reads(name)
    ]


def _output(network: Network) -> ValueInfoProto:
    from onnx import TensorProto, helper

    tokens = (TOKENS,) if network.objective in LANGUAGE else ()
    shape = (BATCH, *tokens, network.classes)
    return helper.make_tensor_value_info(output_name(network), TensorProto.FLOAT, shape)


def _add_weights(
    model: ModelProto, graph: Graph, tensors: Mapping[str, Array], data: BinaryIO | None
) -> None:
    """Add the weights to the message, or to a file that it points to."""
    for name, tensor in graph.weights.items():
        array = _as_stored(tensor, tensors[tensor], transposed=name.endswith(TRANSPOSED))
        message = model.graph.initializer.add(name=name, dims=array.shape, data_type=texts.FLOAT)
        if data is None:
            message.raw_data = array.tobytes()
        else:
            _append(message, array, data)


def _as_stored(name: str, array: Array, *, transposed: bool) -> Array:
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(array.T if transposed else array, dtype="<f4")
    if not np.isfinite(found).all():
        raise WeightsError(f"{name} has values that are not finite as float32, which ONNX stores")
    return found


def _append(message: TensorProto, array: Array, data: BinaryIO) -> None:
    from onnx import TensorProto

    data.write(bytes(-data.tell() % ALIGNMENT))
    place = {"location": Path(data.name).name, "offset": data.tell(), "length": array.nbytes}
    message.data_location = TensorProto.EXTERNAL
    for key, value in place.items():
        message.external_data.add(key=key, value=str(value))
    data.write(array.data)


def _metadata(
    network: Network, belongings: Belongings, preprocess: Preprocess | None
) -> dict[str, str]:
    known: dict[str, Any] = {
        "class_names": list(belongings.class_names) or None,
        "image": None if belongings.image is None else asdict(belongings.image),
        "preprocess": None
        if preprocess is None or network.reads_tokens
        else {"scale": list(preprocess.scale), "shift": list(preprocess.shift)},
        "length": belongings.length,
    }
    return {
        "architecture": network.architecture,
        "objective": network.objective,
        **{
            key: json.dumps(value, ensure_ascii=False)
            for key, value in known.items()
            if value is not None
        },
    }
