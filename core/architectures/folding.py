"""Which BatchNorms can be folded into the convolution before them, for evaluation."""

from __future__ import annotations

from collections import Counter

from paribus.architectures.network import Network


def foldable(network: Network) -> dict[str, str]:
    """Return the names of such BatchNorms by their convolution's: nothing else reads that.

    In evaluation mode BatchNorm is a factor γ/√(σ² + ε) and a sum β − μ·γ/√(σ² + ε) for each
    channel, which the convolution can do by itself with other weights and another bias.
    """
    readers = Counter(source for node in network.nodes for source in node.inputs)
    return {
        node.inputs[0]: node.name
        for node in network.nodes
        if node.op == "batch_norm"
        and readers[node.inputs[0]] == 1
        and node.inputs[0] in network.node
        and network.node[node.inputs[0]].op == "conv2d"
    }
