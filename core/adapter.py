"""The contract between core and a backend. Its obligations stand here and nowhere else.

Core owns the experiment: order, draws, learning rates, early stopping, what is kept. An adapter
owns parameters, optimizer state, compiled functions and K optimizer steps at a time. Only plans go
in and only results come out, so that a plain loop, a traced loop and a scan are each free to be as
fast as their framework can make them.

Sizes in docstrings: N examples, K steps, S shards, b rows of a shard, M evaluation batches,
C classes (outputs for regression, tokens of the vocabulary for language models). Every array that
crosses is NumPy; tensors have canonical names, layouts and shapes
(``network.tensors``). Float arrays cross in the session's parameter dtype (float64 for precision
``float64``, else float32) unless said otherwise.

A session belongs to one thread. An adapter raises ``paribus.errors`` only: ``Unsupported`` for a
value that it cannot honour, naming it, and never a silent substitute; ``OutOfMemory`` where its
framework says that memory is not there (``paribus.exhaustion``), after which core only closes the
session.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy.typing as npt

from paribus.architectures import Network, Shape
from paribus.belongings import NOTHING, Belongings
from paribus.closing import Closing
from paribus.errors import Unsupported
from paribus.native.builder import Builder
from paribus.native.inspection import Inspection
from paribus.plan import EvalPlan, StepResults, Sums, TrainPlan
from paribus.tuning import Choice, Tuning

if TYPE_CHECKING:
    from paribus.replicas import Replicas

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]
Precision = Literal["float32", "float64", "bfloat16"]
Numerics = Literal["strict", "fast"]


@dataclass(frozen=True)
class Task:
    """What a session is opened to do with its network; fixed for the session's life.

    Attributes:
        rule: name of the update rule, a key of ``paribus.optimizers.RULES``.
        trainable: canonical names of the free parameters, in canonical order. Everything else is
            frozen: no gradient, no slot. A ``batch_norm`` node none of whose parameters is
            trainable runs in evaluation mode and its statistics stay unchanged to the bit.
        decayed: the subset of ``trainable`` that weight decay applies to.
        clips: whether gradients are clipped: with n the global L2 norm over all trainable tensors
            of a step's summed gradient, g ← g · min(1, clip_norm / (n + 1e-6)).
        norms: whether ``StepResults.gradient_norms`` (before clipping) is wanted.
        label_smoothing: ε of the loss (see ``TrainPlan``), for classification.
        native_noise: whether the framework's own generator may say what is dropped, instead of
            ``paribus.noise``; in ``fast`` numerics only. What it starts from are the plan's keys.

    What the loss is, is the network's ``objective``.
    """

    rule: str
    trainable: tuple[str, ...]
    decayed: tuple[str, ...] = ()
    clips: bool = False
    norms: bool = False
    label_smoothing: float = 0.0
    native_noise: bool = False

    def frozen_norms(self, network: Network) -> frozenset[str]:
        """Return the names of the ``batch_norm`` nodes that run in evaluation mode."""
        free = {network.tensors[name].node for name in self.trainable}
        return frozenset(n.name for n in network.nodes if n.op == "batch_norm") - free


@dataclass(frozen=True)
class Capabilities:
    """What a backend can be asked for; checked by core before a session is opened.

    Attributes:
        operations: what it executes, of ``Network.operations``: the operations of nodes, and
            ``attention_dropout`` where its attention drops.
        rules: update rules.
        precisions: of ``Precision``.
        device_types: of ``cpu``, ``cuda``, ``mps``.
        replicated: operations of which ``open_replicas`` takes networks, in ``float32`` and
            ``float64``; a network that has them alone, one after the other.
        replicated_devices: types of the devices on which core asks for replicas.
        replicated_work: multiply-adds of a step's forward pass up to which replicas are faster than
            one training after another, as measured; the default is PyTorch's.
        replicated_convolutions: the same of networks with convolutions, of which core asks for
            replicas in ``float32`` alone: in ``float64`` they gained nothing.
        parts: whether a part of a network (``Network.part``) is executed node by node, as
            ``paribus.architectures.parts`` says; without it frozen bodies are computed anew in
            every epoch.
    """

    operations: frozenset[str]
    rules: frozenset[str]
    precisions: frozenset[str]
    device_types: frozenset[str]
    replicated: frozenset[str] = frozenset()
    replicated_work: int = 8_000_000
    replicated_convolutions: int = 0
    replicated_devices: frozenset[str] = frozenset({"cpu"})
    parts: bool = False


class Pending(Protocol):
    """K steps under way."""

    def result(self) -> StepResults:
        """Wait and return the losses and norms; the only point where host and device meet."""


class Session(Closing):
    """A network on a device, with its weights and optimizer state; a context manager.

    After ``open`` the weights are undefined until ``import_weights``. Leaving the context frees
    the device's memory and restores every global setting of the framework that opening changed.

    Attributes:
        compile_seconds: wall seconds spent so far on tracing, compiling and trying, never on
            training.
        remarks: sentences for the user about how it computes, of what is slower than it could be,
            say; a run shows each of them once.
    """

    compile_seconds: float = 0.0
    remarks: Sequence[str] = ()

    @abstractmethod
    def import_weights(self, tensors: Tensors) -> None:
        """Take all canonical tensors, copy them to the device and set every slot to zero.

        Strict: the names are exactly ``network.tensors`` and the shapes theirs; use
        ``paribus.weights.check``. Values are cast to the parameter dtype.

        Raises:
            WeightsError: tensors are missing, extra or misshapen; it lists them.
        """

    @abstractmethod
    def export_weights(self) -> dict[str, Array]:
        """Return copies of all canonical tensors, parameters and statistics, in canonical order.

        In the parameter dtype. They share no memory with the session: later steps leave them alone.
        """

    @abstractmethod
    def import_optimizer(self, slots: Mapping[str, Tensors]) -> None:
        """Set the optimizer's state: slot name → canonical name of a trainable → array.

        Raises:
            WeightsError: not exactly the rule's slots and the task's trainable tensors.
        """

    @abstractmethod
    def export_optimizer(self) -> dict[str, dict[str, Array]]:
        """Return copies of the optimizer's state, shaped as ``import_optimizer`` takes it."""

    @abstractmethod
    def put(self, x: Array, y: Array | None) -> Any:
        """Place examples on the device and return a handle; nothing is converted yet.

        Args:
            x: uint8 or float [N, H, W, channels] for images, float [N, features] for tables, int32
                [N, tokens] or [N, tokens, 2] for texts (token numbers, −1 past the end; segments).
            y: int64 [N] for classification, float [N, outputs] for regression; None for language
                models, and where only ``predict`` or ``forward`` will be called. Floats of both
                may be of either width whatever the precision; plans cast them.
        """

    def tune(self, tuning: Tuning) -> None:
        """Let ``fast`` numerics choose by trying, from the next call on.

        Without it, and by default, a session computes in one way that it need not try. What is
        tried changes nothing of the training: weights, slots and statistics are put back to the
        bit, and no random number is drawn. What was chosen stays for the session's life, and is
        in ``choices``. A session in ``strict`` numerics chooses nothing.
        """

    @property
    def choices(self) -> Sequence[Choice]:
        """What the session has chosen so far, by ``tune``; by default nothing."""
        return ()

    def free(self, handle: Any) -> None:
        """Let go of a handle that will not be used again; by default dropping it is enough."""

    @abstractmethod
    def train_steps(self, handle: Any, plan: TrainPlan) -> Pending:
        """Start K optimizer steps, without waiting where the framework allows it.

        Raises:
            DataError: the objective needs labels, and the examples were put without.
            Unsupported: a shard of one row where a ``batch_norm`` in training mode sees one value
                per channel of it, which has no variance.
        """

    @abstractmethod
    def evaluate(self, handle: Any, plan: EvalPlan) -> Sums:
        """Return the sums over the plan's real rows, in evaluation mode.

        Raises:
            DataError: as of ``train_steps``.
        """

    @abstractmethod
    def predict(self, handle: Any, plan: EvalPlan) -> Array:
        """Return the real rows' outputs, float [rows, C], in evaluation mode.

        Of language models: [rows, M, C] at the plan's ``targets``, or [rows, T, C] without. Of
        the body of a network that was cut: its last node's output as ``put`` takes examples,
        images [rows, H, W, C].
        """

    @abstractmethod
    def gradients(self, handle: Any, plan: TrainPlan) -> tuple[float, dict[str, Array]]:
        """Return loss and gradients of the plan's first step, and change nothing.

        In training mode, before clipping and weight decay; by canonical name, trainable only. The
        plan's scalars are not read: they may be another rule's.
        Statistics keep their values. For verification, not for speed.
        """

    @abstractmethod
    def forward(self, handle: Any, plan: EvalPlan, *, training: bool) -> Array:
        """Return outputs as ``predict`` does, in either mode, and change nothing."""

    def activations(self, handle: Any, plan: EvalPlan, *, training: bool) -> dict[str, Array]:
        """Return what nodes compute for the real rows, by node name, and change nothing.

        For finding where two backends part. Each is the output of a node in the network's layout
        and order (images [rows, C, H, W]), batch by batch as ``forward`` computes it, nothing
        dropped. Of a model of the user's own, what a module was given is there as well, as
        ``NAME (input)``, in the same layout. What a backend cannot observe is absent; by default
        that is everything.
        """
        return {}

    @abstractmethod
    def native(self) -> Any:
        """Return the framework's own object with the current weights, for the user to keep."""

    @abstractmethod
    def save_native(self, folder: Path, belongings: Belongings = NOTHING) -> Path:
        """Write what the framework's users expect into ``folder`` and return its path.

        ``belongings`` go into the framework's own files where it has such files (the names of
        classes, a tokenizer, the preprocessing of images); core writes them beside otherwise.
        """

    @abstractmethod
    def close(self) -> None:
        """Free what the session holds; safe to call twice."""


class Backend(ABC):
    """A descriptor, found through the entry-point group ``paribus.backends``.

    Its module imports no framework; a framework is imported by ``devices`` and ``open`` alone.

    Attributes:
        name: what users write after ``--backend``.
        title: for tables.
        packages: the distributions it needs, at least one, the deciding one first.
        install: the exact command that installs what is missing.
        capabilities: what it can be asked for.
        reads: suffixes (``.pth``) of files of weights in the framework's own format, which core
            cannot read without it; optional.
    """

    name: str
    title: str
    packages: tuple[str, ...]
    install: str
    capabilities: Capabilities
    reads: frozenset[str] = frozenset()

    @abstractmethod
    def available(self) -> str | None:
        """Return None when the framework can be imported, else the reason; imports nothing."""

    @abstractmethod
    def devices(self) -> list[str]:
        """Return the devices on this machine, best first, ``cpu`` last; imports the framework."""

    @abstractmethod
    def open(
        self,
        network: Network,
        task: Task,
        *,
        device: str,
        precision: Precision,
        numerics: Numerics,
    ) -> Session:
        """Open a session.

        A network whose nodes have the operation ``native`` is a model of the user's own
        (``paribus.native.network.NativeNetwork``): its tensors have the names and layouts that
        ``inspect`` gave them, and ``network.builder(name)`` builds it. It behaves as its author
        wrote it, in training too; what it keeps besides parameters are its statistics.

        Args:
            device: one of ``devices()``; core has resolved ``auto``.
            precision: ``float32`` (no reduced-precision products in ``strict``), ``float64``, or
                ``bfloat16``: float32 parameters, BatchNorm, loss and update; convolutions and
                linear layers computed in bfloat16.
            numerics: ``strict``: deterministic, a repeat is bit-identical. ``fast``: whatever is
                fastest within the stated tolerance.

        Raises:
            BackendMissing, DeviceMissing, Unsupported.
        """

    def open_replicas(
        self,
        network: Network,
        task: Task,
        count: int,
        *,
        device: str,
        precision: Precision,
        numerics: Numerics,
    ) -> Replicas:
        """Open ``count`` replicas of a network and task, to be trained as one computation.

        Core asks only for what ``Capabilities.replicated`` claims; the other arguments and errors
        are those of ``open``.
        """
        raise Unsupported(
            f"backend {self.name!r} trains one network at a time; {count} replicas were asked for"
        )

    def inspect(self, builder: Builder, input_shape: Shape, seed: int) -> Inspection:
        """Build a user's model, call it once in evaluation mode, and say what it is made of.

        Args:
            builder: from the spec; its code runs in this process.
            input_shape: of one example, channels first for images, however the model wants them.
            seed: for what the model draws while it is built, where the framework can be seeded.

        Raises:
            SpecError: the builder fails, returns no model of this framework, or the model does not
                take such inputs or does not return one array [n, outputs].
        """
        raise Unsupported(
            f"backend {self.name!r} runs no models of your own; {builder.target} was given"
        )

    def read_tensors(self, path: Path) -> dict[str, Array]:
        """Read the tensors of a file whose suffix is in ``reads``.

        Names are as they stand in it, or canonical (and so are the layouts) where the format has
        neither published names nor published layouts of a network of paribus.

        The file is anybody's: whatever it holds, no code of it is executed and no module is
        imported for it. Core calls this in a child process. Shapes and names are core's to judge.

        Raises:
            WeightsError: the file is damaged, holds anything but tensors (it says what), or
                cannot be read safely.
        """
        raise Unsupported(f"backend {self.name!r} reads no files of weights; {path} was given")
