"""A network's operations as ONNX operators: one table; ``architectures.network`` defines them.

GELU and attention are spelled out, because their operators came with the opsets 20 and 23.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import pi, sqrt

import numpy as np

from paribus.architectures import INPUT, TARGETS, Network, Node
from paribus.architectures.pooling import bins
from paribus.errors import Unsupported
from paribus.onnx import texts
from paribus.onnx.attention import attend
from paribus.onnx.graph import Graph

Operation = Callable[[Node, Sequence[str], Graph], str]


def input_name(network: Network) -> str:
    """Return the name of the input that stands for ``INPUT``."""
    if network.reads_tokens:
        return texts.NUMBERS
    return "features" if len(network.input_shape) == 1 else "pixel_values"


def output_name(network: Network) -> str:
    """Return the name of the output."""
    return "values" if network.objective == "regression" else "logits"


def translate(network: Network) -> Graph:
    """Return the operators of a network, in evaluation mode.

    Raises:
        Unsupported: an operation has no translation.
    """
    unknown = sorted({node.op for node in network.nodes} - set(OPERATIONS))
    if unknown:
        raise Unsupported(
            f"ONNX: {network.architecture} has operations without a translation: "
            f"{', '.join(unknown)}; export it with --to and a backend instead"
        )
    graph = Graph()
    # An ONNX file predicts every token: it has no targets to choose some.
    values = {INPUT: input_name(network), TARGETS: ""}
    graph.shapes[values[INPUT]] = network.input_shape
    for node in network.nodes:
        graph.scope = node.name
        inputs = [values[name] for name in node.inputs]
        values[node.name] = OPERATIONS[node.op](node, inputs, graph)
        graph.shapes[values[node.name]] = node.shape
    graph.result(values[network.nodes[-1].name], output_name(network))
    return graph


def _conv2d(node: Node, inputs: Sequence[str], graph: Graph) -> str:
    kernel, stride, padding = (node.size(name) for name in ("kernel", "stride", "padding"))
    bias = [graph.weight(f"{node.name}.bias")] if node.size("bias") else []
    return graph.add(
        "Conv", inputs[0], graph.weight(f"{node.name}.weight"), *bias, group=node.size("groups"),
        kernel_shape=[kernel] * 2, pads=[padding] * 4, strides=[stride] * 2,
    )  # fmt: skip


def _batch_norm(node: Node, inputs: Sequence[str], graph: Graph) -> str:
    leaves = ("weight", "bias", "running_mean", "running_var")
    tensors = [graph.weight(f"{node.name}.{leaf}") for leaf in leaves]
    return graph.add(
        "BatchNormalization", inputs[0], *tensors, epsilon=float(node.attributes["eps"])
    )


def _linear(node: Node, inputs: Sequence[str], graph: Graph) -> str:
    weight, as_stored = f"{node.name}.weight", bool(node.size("transposed"))
    bias = [graph.weight(f"{node.name}.bias")] if node.size("bias") else []
    if len(node.shape) == 1:
        return graph.add("Gemm", inputs[0], graph.weight(weight), *bias, transB=int(not as_stored))
    # Only Gemm can read a matrix the other way round, and it knows no tokens.
    product = graph.add("MatMul", inputs[0], graph.weight(weight, transposed=not as_stored))
    return graph.add("Add", product, *bias) if bias else product


def _max_pool2d(node: Node, inputs: Sequence[str], graph: Graph) -> str:
    kernel, stride, padding = (node.size(name) for name in ("kernel", "stride", "padding"))
    return graph.add("MaxPool", inputs[0], kernel_shape=[kernel] * 2, pads=[padding] * 4,
                     strides=[stride] * 2)  # fmt: skip


def _global_avg_pool(node: Node, inputs: Sequence[str], graph: Graph) -> str:
    return graph.add("Flatten", graph.add("GlobalAveragePool", inputs[0]), axis=1)


def _adaptive_avg_pool2d(node: Node, inputs: Sequence[str], graph: Graph) -> str:
    size, (_, *sides) = node.size("size"), graph.shapes[inputs[0]]
    if sides == [size, size]:
        return inputs[0]
    # Bins are products of rows and columns: two small matrix products, whatever they overlap.
    rows, columns = (bins(side, size).astype(np.float32) for side in sides)
    means = graph.add("MatMul", graph.constant(rows), inputs[0])
    return graph.add("MatMul", means, graph.constant(columns.T.copy()))


def _relu6(node: Node, inputs: Sequence[str], graph: Graph) -> str:
    return graph.add("Clip", inputs[0], graph.number(0.0), graph.number(6.0))


def _tokens(node: Node, inputs: Sequence[str], graph: Graph) -> str:
    count, width = node.shape
    rows = graph.add("Reshape", inputs[0], graph.integers(0, width, count))
    return graph.add("Transpose", rows, perm=[0, 2, 1])


def _class_token(node: Node, inputs: Sequence[str], graph: Graph) -> str:
    batch = graph.add("Shape", inputs[0], start=0, end=1)
    shape = graph.add("Concat", batch, graph.integers(1, node.shape[1]), axis=0)
    first = graph.add("Expand", graph.weight(node.name), shape)
    return graph.add("Concat", first, inputs[0], axis=1)


def _position_embedding(node: Node, inputs: Sequence[str], graph: Graph) -> str:
    return graph.add("Add", inputs[0], graph.weight(f"{node.name}.pos_embedding"))


def _first_token(node: Node, inputs: Sequence[str], graph: Graph) -> str:
    return graph.add("Gather", inputs[0], graph.constant(np.array(0, dtype=np.int64)), axis=1)


def _layer_norm(node: Node, inputs: Sequence[str], graph: Graph) -> str:
    tensors = [graph.weight(f"{node.name}.{leaf}") for leaf in ("weight", "bias")]
    epsilon = float(node.attributes["eps"])
    return graph.add("LayerNormalization", inputs[0], *tensors, axis=-1, epsilon=epsilon)


def _gelu(node: Node, inputs: Sequence[str], graph: Graph) -> str:
    x = inputs[0]
    half, one = graph.number(0.5), graph.number(1.0)
    # In the order in which onnxruntime looks for them: it makes each one operator again.
    if node.size("tanh"):
        cube = graph.add("Mul", graph.add("Pow", x, graph.number(3.0)), graph.number(0.044715))
        inner = graph.add("Mul", graph.add("Add", x, cube), graph.number(sqrt(2 / pi)))
        twice = graph.add("Add", graph.add("Tanh", inner), one)
        return graph.add("Mul", graph.add("Mul", x, half), twice)
    twice = graph.add("Add", graph.add("Erf", graph.add("Div", x, graph.number(sqrt(2)))), one)
    return graph.add("Mul", graph.add("Mul", x, twice), half)


def _attention(node: Node, inputs: Sequence[str], graph: Graph) -> str:
    def product(x: str, weight: str, bias: str) -> str:
        matrix = graph.weight(f"{node.name}.{weight}", transposed=True)
        return graph.add("Add", graph.add("MatMul", x, matrix), graph.weight(f"{node.name}.{bias}"))

    projected = product(inputs[0], "in_proj_weight", "in_proj_bias")
    parts = graph.add_many("Split", 3, projected, axis=2)
    joined = attend(graph, *parts, heads=node.size("heads"), width=node.size("width"))
    return product(joined, "out_proj.weight", "out_proj.bias")


OPERATIONS: dict[str, Operation] = {
    "conv2d": _conv2d,
    "batch_norm": _batch_norm,
    "linear": _linear,
    "relu": lambda node, inputs, graph: graph.add("Relu", inputs[0]),
    "relu6": _relu6,
    "tanh": lambda node, inputs, graph: graph.add("Tanh", inputs[0]),
    "max_pool2d": _max_pool2d,
    "global_avg_pool": _global_avg_pool,
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "flatten": lambda node, inputs, graph: graph.add("Flatten", inputs[0], axis=1),
    "add": lambda node, inputs, graph: graph.add("Add", *inputs),
    # What is dropped in training is kept where a model is used.
    "dropout": lambda node, inputs, graph: inputs[0],
    "stochastic_depth": lambda node, inputs, graph: inputs[0],
    "tokens": _tokens,
    "class_token": _class_token,
    "position_embedding": _position_embedding,
    "first_token": _first_token,
    "layer_norm": _layer_norm,
    "gelu": _gelu,
    "attention": _attention,
    **texts.OPERATIONS,
}
