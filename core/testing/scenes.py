"""Scenes: a network, its weights, examples, a task and plans, and what of them is checked.

A scene is named ``group/case``; its group is what a failure in it speaks of. The golden files hold
every array of a scene beside what it leads to, so that neither a change of core's generator nor
another NumPy can move both sides of a comparison at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from paribus import draws, noise
from paribus.adapter import Task
from paribus.architectures import Network
from paribus.optimizers import RULES
from paribus.plan import Augmentation, EvalPlan, Preprocess, TrainPlan
from paribus.testing import data, plans
from paribus.testing.data import Array
from paribus.testing.networks import NETWORKS

# What is observed of a scene, in this order.
FORWARD = ("outputs", "training_outputs")
TRAINING = ("losses", "weights", "slots")
JUDGING = ("sums", "predictions")
EVERYTHING = (*FORWARD, "gradients", *TRAINING, *JUDGING)

ROWS, BATCH, JUDGED = 16, 8, 13


@dataclass(frozen=True)
class Scene:
    """What is executed; see the module.

    Attributes:
        name: ``group/case``.
        network_name: key of ``NETWORKS``.
        x, y: examples and labels as ``Session.put`` takes them.
        task: what the session is opened for.
        plan: K optimizer steps, after ``gradients`` of the first.
        looks: batches whose outputs are wanted, before the steps (``FORWARD``) and after
            (``JUDGING``).
        phases: what is compared.
    """

    name: str
    network_name: str
    x: Array
    y: Array | None
    task: Task
    plan: TrainPlan
    looks: EvalPlan
    phases: tuple[str, ...]

    @property
    def network(self) -> Network:
        """The network, one object for all its scenes."""
        return NETWORKS[self.network_name]

    @property
    def group(self) -> str:
        """What the scene is about."""
        return self.name.partition("/")[0]


@cache
def scenes() -> Mapping[str, Scene]:
    """Return every scene by name."""
    found = [scene for recipe in RECIPES for scene in recipe()]
    return {scene.name: scene for scene in found}


def _scene(
    name: str,
    network_name: str,
    phases: tuple[str, ...],
    *,
    task: Mapping[str, Any] | None = None,
    x: Array | None = None,
    rows: Array | None = None,
    preprocess: Preprocess | None = None,
    **options: Any,
) -> Scene:
    network = NETWORKS[network_name]
    examples = data.stored(network, ROWS) if x is None else x
    wanted = plans.task(network, **(task or {}))
    drawn = plans.batches(2, 1, BATCH, len(examples)) if rows is None else rows
    ready = preprocess or data.scaling(network)
    plan = plans.steps(network, drawn, examples, rule=wanted.rule, preprocess=ready, **options)
    looks = plans.eval_plan(min(JUDGED, len(examples)), BATCH, ready)
    if network.objective == "masked_lm":
        looks = replace(looks, targets=data.targets(network, examples, looks.indices, seed=1))
    if not RULES[wanted.rule].slots:
        phases = tuple(phase for phase in phases if phase != "slots")
    y = data.labels(network, len(examples))
    return Scene(name, network_name, examples, y, wanted, plan, looks, phases)


def _architectures() -> Iterator[Scene]:
    """Every architecture, whole: both passes, a gradient, two steps, and how it is judged."""
    for name in ("cnn", "plain", "mlp", "vit", "wide_vit", "bert", "mean_bert", "gpt2"):
        yield _scene(f"architectures/{name}", name, EVERYTHING)
    # Small rates: over few rows BatchNorm amplifies rounding from step to step.
    computed = (*FORWARD, "losses", *JUDGING)
    for name in ("resnet18", "vgg11_bn", "mobilenet_v2"):
        yield _scene(f"architectures/{name}", name, computed, rates=[0.002, 0.001])
    wide = data.stored(NETWORKS["wide_vgg11"], 1)
    one = np.zeros((1, 1, 1), np.int64)
    yield _scene("architectures/wide_vgg11", "wide_vgg11", ("outputs",), x=wide, rows=one)


def _objectives() -> Iterator[Scene]:
    """What is minimised: numbers, masked and following tokens, smoothed and weighted classes."""
    for name in ("mlp_regression", "bert_regression", "masked_bert", "causal_gpt2"):
        yield _scene(f"objectives/{name}", name, EVERYTHING)
    phases = ("gradients", "losses", "weights", "sums")
    yield _scene("objectives/smoothed_mlp", "mlp", phases, task={"label_smoothing": 0.1})
    plain = _scene("objectives/weighted_mlp", "mlp", phases)
    shares = 0.2 + draws.uniform(0, "row weights", 0, plain.plan.weights.shape)
    shares /= shares.sum(axis=(1, 2), keepdims=True)
    yield replace(plain, plan=replace(plain.plan, weights=shares))


def _texts() -> Iterator[Scene]:
    """Texts in pairs, and cut to fewer tokens than they have."""
    bert = NETWORKS["bert"]
    pairs = data.texts(bert, ROWS, pairs=True)
    yield _scene("texts/pairs", "bert", (*FORWARD, "gradients", "losses", "sums"), x=pairs)
    for name in ("bert", "gpt2"):
        cut = Preprocess(length=5)
        yield _scene(f"texts/short_{name}", name, (*FORWARD, "losses", "sums"), preprocess=cut)


def _rules() -> Iterator[Scene]:
    """Every update rule, at rates that change: weights and slots after four steps."""
    four = plans.batches(4, 1, BATCH, ROWS, seed=2)
    for rule in RULES:
        yield _scene(f"rules/{rule}", "mlp", TRAINING, task={"rule": rule}, rows=four)
    # The bias of attention's keys has no gradient but rounding; a large ε keeps that rounding.
    values = {**plans.HYPERPARAMETERS, "epsilon": 1e-3}
    for name in ("cnn", "bert"):
        chosen = {"rule": "adamw"}
        yield _scene(f"rules/adamw_{name}", name, TRAINING, task=chosen, rows=four, values=values)


def _decay() -> Iterator[Scene]:
    """Weight decay applies to the tensors that the task names, whatever they are."""
    names = NETWORKS["mlp"].trainable("none")
    for case, rule, chosen in (
        ("nothing", "adamw", ()),
        ("biases", "adamw", tuple(name for name in names if name.endswith("bias"))),
        ("everything", "sgd_momentum", names),
    ):
        wanted = {"rule": rule, "decayed": chosen}
        yield _scene(f"decay/{case}", "mlp", TRAINING, task=wanted)


def _clipping() -> Iterator[Scene]:
    """The norm over all tensors, before clipping; a bound for each step, near and far."""
    phases = ("losses", "norms", "weights", "slots")
    four = plans.batches(4, 1, BATCH, ROWS, seed=3)
    both = {"clips": True, "norms": True}
    for name in ("mlp", "cnn"):
        bounds = [0.05, 10.0, 0.4, 100.0]
        yield _scene(f"clipping/{name}", name, phases, task=both, rows=four, clip_norm=bounds)
    only = {"clips": True}
    yield _scene("clipping/unmeasured", "mlp", TRAINING, task=only, rows=four, clip_norm=0.05)
    yield _scene("clipping/measured", "mlp", phases, task={"norms": True}, rows=four)


def _frozen() -> Iterator[Scene]:
    """What is frozen keeps every bit, BatchNorm's statistics too, and normalises with them."""
    phases = ("training_outputs", "gradients", *TRAINING, "frozen")
    for name, freeze in (
        ("mlp", "body"),
        ("cnn", "body"),
        ("cnn", "block1"),
        ("vit", "layer1"),
        ("bert", "body"),
    ):
        wanted = {"freeze": freeze}
        yield _scene(f"frozen/{name}_{freeze}", name, phases, task=wanted)
    computed = ("training_outputs", "losses", "predictions", "frozen")
    yield _scene("frozen/mobilenet_v2_neck", "mobilenet_v2", computed, task={"freeze": "neck"},
                 rates=[0.002, 0.001])  # fmt: skip


def _inputs() -> Iterator[Scene]:
    """From stored bytes to inputs: crops, windows over the edges, flips, scales, floats."""
    cnn = NETWORKS["cnn"]
    larger = data.images(ROWS, 11, 10, 2)
    cropping = replace(data.SCALING, crop=(8, 8))
    looked = (*FORWARD, "gradients", "losses", "sums")
    yield _scene("inputs/crop", "cnn", looked, x=larger, preprocess=cropping)
    rows = plans.batches(2, 2, 4, ROWS)
    windows = Augmentation(
        top=draws.integers(1, "top", 0, rows.shape, 16) - 6,
        left=draws.integers(1, "left", 0, rows.shape, 15) - 6,
        flip_horizontal=draws.uniform(1, "horizontal", 0, rows.shape) < 0.5,
        flip_vertical=draws.uniform(1, "vertical", 0, rows.shape) < 0.5,
    )
    yield _scene("inputs/augmented", "cnn", ("gradients", *TRAINING, "sums"), x=larger, rows=rows,
                 preprocess=cropping, augmentation=windows)  # fmt: skip
    one = Preprocess((0.01,), (1.2,))
    yield _scene("inputs/one_scale", "cnn", ("outputs", "gradients"), preprocess=one)
    floats = data.stored(cnn, ROWS) / 64.0 - 2.0
    yield _scene("inputs/float_images", "cnn", ("outputs", "gradients"), x=floats,
                 preprocess=Preprocess())  # fmt: skip
    each = Preprocess((0.7, 0.3, 0.5, 1.1, 0.9, 1.3), (0.1, -0.2, 0.0, 0.3, 0.2, -0.1))
    yield _scene("inputs/table", "mlp", ("outputs", "gradients"), preprocess=each)


def _shards() -> Iterator[Scene]:
    """Three shards: one sum of gradients, and statistics that follow shard by shard."""
    rows = plans.batches(2, 3, 4, ROWS)
    for name in ("mlp", "cnn", "bert"):
        yield _scene(f"shards/{name}", name, ("gradients", "losses", "weights"), rows=rows)


def _padding() -> Iterator[Scene]:
    """Shards of different numbers of real rows; what stands behind them is another row."""
    counts = np.array([[5, 3], [6, 2]])
    rows = plans.batches(2, 2, 6, ROWS)
    phases = ("gradients", "losses", "weights")
    for name in ("mlp", "cnn", "bert", "masked_bert", "causal_gpt2"):
        yield _scene(f"padding/{name}", name, phases, rows=rows, counts=counts)


def _dropout() -> Iterator[Scene]:
    """What the plan's keys drop: in ragged shards, of every step anew; nothing without keys."""
    counts = np.array([[5, 3], [6, 2], [4, 4]])
    rows = plans.batches(3, 2, 6, ROWS)
    phases = ("training_outputs", "gradients", "losses", "weights")
    for name in ("mlp", "cnn", "vit", "bert", "gpt2"):
        scene = _scene(f"dropout/{name}", f"dropped_{name}", phases, rows=rows, counts=counts)
        keys = noise.keys(3, "conformance", 0, scene.plan.steps, len(scene.network.noisy))
        yield replace(scene, plan=replace(scene.plan, noise=keys))


RECIPES: tuple[Callable[[], Iterator[Scene]], ...] = (
    _architectures, _objectives, _texts, _rules, _decay, _clipping, _frozen, _inputs, _shards,
    _padding, _dropout,
)  # fmt: skip
