"""What a network's arithmetic amounts to."""

from __future__ import annotations

from math import prod

from paribus.architectures.network import Network

# What multiplies; tables of learned tokens are added or looked up.
PRODUCTS = frozenset(("conv2d", "linear", "attention"))


def products(network: Network) -> int:
    """Return the multiply-adds of a forward pass of one example in convolutions and products."""
    shared = {node.shares: node.shape[0] for node in network.nodes if node.shares}
    found = sum(
        prod(tensor.shape) * prod(node.shape) // node.shape[-1 if len(node.shape) < 3 else 0]
        for tensor in network.tensors.values()
        if tensor.role == "weight" and (node := network.node[tensor.node]).op in PRODUCTS
    )
    return found + sum(prod(network.tensors[name].shape) * rows for name, rows in shared.items())
