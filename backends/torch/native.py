"""The user's own ``torch.nn.Module``: built by their function, looked at, trained as it is.

A ``transformers.PreTrainedModel`` is one, too; of what it returns the logits are taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from paribus.adapter import Precision
from paribus.architectures import Network, Shape
from paribus.backends.torch.models import Model
from paribus.backends.torch.native_modules import describe, layout, leaf, role
from paribus.belongings import Belongings
from paribus.errors import ParibusError, SpecError
from paribus.native.builder import Builder
from paribus.native.inspection import Inspection, NativeModule, NativeTensor

# Rows of the call that shows a model's outputs: more than one, as some layers want.
ROWS = 2


class Draws:
    """The random numbers of a model in training (its dropout): a stream of its own.

    The process's generator stays as it is. ``seed`` begins the stream; it goes on from call to
    call.
    """

    def __init__(self) -> None:
        self._state: list[Tensor] = []
        self._seed = 0

    def seed(self, number: int) -> None:
        """Begin the stream that ``number``, below 2⁶³, stands for."""
        self._state, self._seed = [], number

    @contextmanager
    def drawing(self, device: torch.device) -> Iterator[None]:
        """Draw from the stream."""
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            if self._state:
                torch.set_rng_state(self._state[0])
                for place, state in zip(devices, self._state[1:], strict=True):
                    torch.cuda.set_rng_state(state, place)
            else:
                torch.manual_seed(self._seed)
            yield
            self._state = [torch.get_rng_state(), *map(torch.cuda.get_rng_state, devices)]


def open_model(
    builder: Builder, network: Network, precision: Precision, kind: type[nn.Module] = nn.Module
) -> Model:
    """Return the user's model for a session.

    ``kind`` is what the builder has to return.

    Raises:
        SpecError: the builder fails, or its tensors are not those that ``inspect`` found.
    """
    # What the user's code compiles must hear of determinism too: see `settings`.
    import torch._inductor.config

    module = _built(builder, torch.float64 if precision == "float64" else torch.float32, kind)
    found = {tensor.name: tensor.shape for tensor in _tensors(module)}
    wanted = {name: tensor.shape for name, tensor in network.tensors.items()}
    if found != wanted:
        apart = sorted(name for name in {**found, **wanted} if found.get(name) != wanted.get(name))
        raise SpecError(
            f"native: {builder.target} returns another model at its second call ({apart[0]} "
            "differs); it must return the same each time"
        )
    names = {name: (name,) for name in network.tensors}
    draws = Draws()

    def logits(module: nn.Module, x: Tensor, positions: Tensor | None) -> Tensor:
        if not module.training:
            return _logits(builder.target, module, x)
        with draws.drawing(x.device):
            return _logits(builder.target, module, x)

    return Model(module, names, logits, _save, own=True, seed=draws.seed)


def inspect(
    builder: Builder, input_shape: Shape, seed: int, kind: type[nn.Module] = nn.Module
) -> Inspection:
    """Return what the user's model is made of; the contract is ``Backend.inspect``'s."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = _built(builder, torch.float32, kind).float().eval()
    called: list[NativeModule] = []
    hooks = []
    seen: set[str] = set()
    for name, part in module.named_modules():
        hooks.append(part.register_forward_hook(partial(_note, name, called, seen)))
    try:
        with torch.no_grad():
            outputs = _logits(builder.target, module, torch.zeros(ROWS, *input_shape))
    finally:
        for hook in hooks:
            hook.remove()
    state = module.state_dict()
    tensors = _tensors(module)
    values = {t.name: np.array(state[t.name].cpu().numpy(), order="C") for t in tensors}
    return Inspection(tensors, tuple(called), tuple(outputs.shape[1:]), values)


def _built(builder: Builder, dtype: torch.dtype, kind: type[nn.Module]) -> nn.Module:
    before = torch.get_default_dtype()
    # Constants that the builder makes have the precision of the session.
    torch.set_default_dtype(dtype)
    try:
        module = builder.build()
    finally:
        torch.set_default_dtype(before)
    if not isinstance(module, kind):
        wanted = "torch.nn.Module" if kind is nn.Module else f"transformers.{kind.__name__}"
        raise SpecError(
            f"native: {builder.target} returned a {type(module).__name__}, not a {wanted}"
        )
    if any(value.is_meta for value in module.state_dict().values()):
        raise SpecError(
            f"native: {builder.target} returned a module on the meta device; build it with memory"
        )
    return module


def _tensors(module: nn.Module) -> tuple[NativeTensor, ...]:
    """Return parameters and buffers of floats in the order of the state dict, shared ones once."""
    found, seen = [], set()
    for name, value in module.state_dict(keep_vars=True).items():
        if not isinstance(value, Tensor) or not value.is_floating_point() or id(value) in seen:
            continue
        seen.add(id(value))
        owner, _, last = name.rpartition(".")
        part = module.get_submodule(owner)
        trains = isinstance(value, nn.Parameter) and value.requires_grad
        found.append(
            NativeTensor(
                name,
                tuple(value.shape),
                "parameter" if trains else "statistic",
                role(part, last),
                owner,
                leaf(part, last),
                layout(part, last),
            )
        )
    return tuple(found)


def _note(
    name: str,
    called: list[NativeModule],
    seen: set[str],
    part: nn.Module,
    given: tuple[Any, ...],
    output: Any,
) -> None:
    """A forward hook: write a module down at its first call, containers left out."""
    leafless = any(True for _ in part.children()) and not any(True for _ in part.parameters(False))
    if name in seen or leafless:
        return
    seen.add(name)
    called.append(describe(name, part, given, output))


def _logits(target: str, module: nn.Module, x: Tensor) -> Tensor:
    try:
        found = module(x)
    except ParibusError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise SpecError(
            f"native: {target}: the model fails on inputs {list(x.shape)}: "
            f"{type(error).__name__}: {error}; it is called with images [n, channels, height, "
            "width] or tables [n, features]"
        ) from error
    outputs = getattr(found, "logits", found)
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or len(outputs) != len(x):
        shape = list(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        raise SpecError(
            f"native: {target}: for inputs {list(x.shape)} the model returned {shape}; allowed: "
            f"one tensor [{len(x)}, outputs], or an object with such logits"
        )
    return outputs


def _save(module: nn.Module, folder: Path, belongings: Belongings) -> Path:
    """Write ``model.safetensors``, shared tensors once; of transformers' models all their files."""
    from safetensors.torch import save_model

    folder.mkdir(parents=True, exist_ok=True)
    save_pretrained: Any = getattr(module, "save_pretrained", None)
    if callable(save_pretrained):
        save_pretrained(folder)
        return folder
    path = folder / "model.safetensors"
    save_model(module, str(path), metadata={"format": "pt"})
    return path
