"""A native module on its device: whose memory its tensors are, and which mode it is in.

The trainable parameters of the module are the views of a ``Flat``; everything else about it stays
as its authors made it, so that a copy is an ordinary module again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from math import prod

import torch
from torch import Tensor, nn

from paribus.adapter import Task
from paribus.architectures import Network
from paribus.backends.torch import dense, narrow, products, tokens
from paribus.backends.torch.flat import PIECE, Apart, Flat
from paribus.backends.torch.models import Model
from paribus.backends.torch.noise import Noise

COUNTER = "num_batches_tracked"


class Placed:
    """The module of ``model`` with memory, in evaluation mode.

    Attributes:
        module: the native module.
        tensors: its parameters and statistics by canonical name, in canonical order.
        noise: what the module drops in training.
        pointwise: free ``batch_norm`` nodes that see one value per channel and example.
    """

    def __init__(
        self,
        network: Network,
        task: Task,
        model: Model,
        flat: Flat,
        device: torch.device,
        dtype: torch.dtype,
        channels_last: bool,
    ) -> None:
        module = model.module.to(dtype)
        # Of the user's own module everything is kept that it computed when it was built.
        module = module.to(device) if model.own else _emptied(module, device)
        model.prepare(module)
        if channels_last:
            module = module.to(memory_format=torch.channels_last)
        self.module: nn.Module = module.eval().requires_grad_(False)
        self._names, self._whole = model.names, tuple(network.tensors)
        self._network = network
        self._lent: list[Callable[[], None]] = []
        self._narrow = False
        # The user's own code may look at its layers' forward methods.
        self._fitting = device.type == "cpu" and not model.own
        self._lend(channels_last)
        self._training = False
        # Norms and clipping look at all gradients as one vector.
        self._whole_gradient = task.clips or task.norms
        self._seed = model.seed
        self.tensors: dict[str, Tensor] = {}
        self._bind(flat, self._whole_gradient)
        frozen = task.frozen_norms(network)
        self._frozen = [
            module.get_submodule(model.names[f"{name}.weight"][0].rpartition(".")[0])
            for name in frozen
        ]
        self.pointwise = [
            node.name
            for node in network.nodes
            if node.op == "batch_norm" and node.name not in frozen and prod(node.shape[1:]) == 1
        ]
        # BatchNorm's counter is read by no arithmetic, but costs an operation per layer and step.
        self.noise = Noise(network, module, model, task.native_noise)
        counting = [name for name, part in module.named_modules() if COUNTER in part._buffers]
        # Of the user's own model it may be read: momentum=None is the mean over all batches.
        self._counting = [] if model.own else counting
        self._counters = [
            buffer for name, buffer in module.named_buffers() if name.endswith(COUNTER)
        ]
        for name in self._counting:
            module.get_submodule(name).register_buffer(COUNTER, None)

    def move(self, flat: Flat, channels_last: bool) -> None:
        """Let the parameters be another buffer's, with their values, in another order of memory."""
        order = torch.channels_last if channels_last else torch.contiguous_format
        with torch.no_grad():
            self.module.to(memory_format=order)
            self._bind(flat, self._whole_gradient)
        self._lend(channels_last)

    def narrow(self, narrow: bool) -> None:
        """Let convolutions alone compute in bfloat16, or not."""
        self._narrow = narrow
        self._lend(self._last)

    def _lend(self, channels_last: bool) -> None:
        """Let layers compute in the way that is fastest with images in this order of memory."""
        self._return()
        if self._narrow:
            self._lent += narrow.attach(self.module)
        elif channels_last:
            self._lent += products.attach(self.module, self._network, self._names)
        if self._fitting:
            self._lent += dense.attach(self.module)
            # Attention that drops is lent another function.
            self._lent += [] if self._network.noisy else tokens.attach(self.module)
        self._last = channels_last

    def _return(self) -> None:
        """Let layers be what they are."""
        while self._lent:
            self._lent.pop()()

    def _bind(self, flat: Flat, whole_gradient: bool) -> None:
        """Make every parameter and statistic a view of its canonical tensor."""
        state = self.module.state_dict(keep_vars=True)
        apart = []
        for name in self._whole:
            parts = [state[part] for part in self._names[name]]
            cuts = [len(part) for part in parts]
            if name in flat.weights:
                self.tensors[name] = flat.weights[name]
                views = torch.split(flat.gradients[name], cuts)
                for part, gradient in zip(parts, views, strict=True):
                    part.requires_grad_(True)
                    part.grad = gradient
                    large = part.numel() >= PIECE and not whole_gradient
                    apart += [Apart(part, gradient)] if large else []
            else:
                self.tensors[name] = parts[0] if len(parts) == 1 else torch.cat(parts)
            for part, view in zip(parts, torch.split(self.tensors[name], cuts), strict=True):
                part.data = view
        flat.set_apart(apart)

    def restart(self) -> None:
        """Set what counts batches to zero, and random numbers to their start."""
        self._seed(0)
        for counter in self._counters:
            counter.zero_()

    def mode(self, training: bool) -> None:
        """Switch modes; frozen BatchNorm, and what drops by itself, stay in evaluation."""
        if self._training != training:
            self._training = training
            self.module.train(training)
            # train() reaches every layer; these must not follow.
            for part in (*self._frozen, *self.noise.held):
                part.eval()

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Put the statistics back as they were."""
        before = [(buffer, buffer.clone()) for buffer in self.module.buffers()]
        try:
            yield
        finally:
            for buffer, value in before:
                buffer.copy_(value)

    def copy(self) -> nn.Module:
        """Return an ordinary module with memory of its own: evaluation mode, everything free."""
        self._return()
        try:
            with self.noise.detached():
                module = deepcopy(self.module).eval().requires_grad_(True)
        finally:
            self._lend(self._last)
        for name in self._counting:
            zero = torch.zeros((), dtype=torch.int64, device=next(module.parameters()).device)
            module.get_submodule(name).register_buffer(COUNTER, zero)
        return module.to(memory_format=torch.contiguous_format)


def _emptied(module: nn.Module, device: torch.device) -> nn.Module:
    """Return a module with memory for its tensors, whose values are undefined.

    As its ``to_empty`` does; but making a tensor like one without memory imports a system for
    symbolic algebra, which takes half a second.
    """

    def like(t: Tensor) -> Tensor:
        return torch.empty(t.shape, dtype=t.dtype, device=device)

    emptied: nn.Module = module._apply(like)  # type: ignore[no-untyped-call]
    return emptied
