"""How far apart are the backends? Prints a Markdown table of float64 differences.

    python benchmarks/equality.py                 ResNet-18, 64×64, batch 32, 50 steps; all ResNets
    python benchmarks/equality.py --steps 5       shorter

Each backend runs in a process of its own, one after the other, on the same initial weights and the
same plan; learning rates follow a cosine with warm-up. The reference is the first backend.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from paribus import draws, weights
from paribus.adapter import Array, Task
from paribus.architectures import Network, build
from paribus.batches import Schedule
from paribus.inputs import Inputs
from paribus.plan import Preprocess, TrainPlan, evaluation_plan
from paribus.remote import RemoteBackend
from paribus.spec.training import Recipe

BACKENDS = ("torch", "tensorflow", "huggingface")
EXAMPLES, BATCH, SIZE, SEED = 256, 32, 64, 1
OPTIMIZERS = {
    "SGD, momentum 0.9, decay 1e-4": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9,
                                      "weight_decay": 1e-4},
    "AdamW": {"name": "adamw", "learning_rate": 1e-3},
}  # fmt: skip


def images() -> tuple[Array, Array]:
    """Return smooth class-dependent patterns with noise: uint8 [N, 64, 64, 3] and labels [N]."""
    labels = np.arange(EXAMPLES, dtype=np.int64) % 10
    patterns = draws.normal(SEED, "patterns", 0, (10, 8, 8, 3))
    coarse = 0.7 * patterns[labels] + 0.5 * draws.normal(SEED, "noise", 0, (EXAMPLES, 8, 8, 3))
    fine = np.kron(coarse, np.ones((1, SIZE // 8, SIZE // 8, 1)))
    return np.clip(128 + 50 * fine, 0, 255).astype(np.uint8), labels


def plans(recipe: Recipe, steps: int) -> Iterator[TrainPlan]:
    """Yield the plans of the first ``steps`` optimizer steps."""
    schedule = Schedule(
        recipe, recipe.epochs, np.arange(EXAMPLES, dtype=np.int64), SEED, "equality",
        Inputs(preprocess=Preprocess((1 / 128,) * 3, (1.0,) * 3)),
    )  # fmt: skip
    for epoch in range(recipe.epochs):
        done = epoch * schedule.steps_per_epoch
        if done < steps:
            yield schedule.epoch(epoch).plan(0, min(steps - done, schedule.steps_per_epoch))


def losses(name: str, network: Network, optimizer: dict[str, object], steps: int) -> Array:
    """Return the training losses of ``steps`` steps on one backend, float64."""
    epochs = -(-steps * BATCH // EXAMPLES)
    recipe = Recipe.model_validate({
        "epochs": epochs, "batch_size": BATCH, "optimizer": optimizer,
        "schedule": {"name": "cosine", "warmup_epochs": 0.5},
    })  # fmt: skip
    trainable = network.trainable("none")
    decayed = trainable if optimizer["name"] == "sgd" else tuple(
        t for t in trainable if network.tensors[t].role == "weight"
    )  # fmt: skip
    task = Task(recipe.optimizer.rule, trainable, decayed)
    with (
        RemoteBackend(name) as backend,
        backend.open(network, task, device="cpu", precision="float64", numerics="strict") as s,
    ):
        s.import_weights(weights.draw(network, SEED))
        handle = s.put(*images())
        return np.concatenate(
            [s.train_steps(handle, plan).result().losses for plan in plans(recipe, steps)]
        )


def logits(name: str, networks: dict[str, Network]) -> dict[tuple[str, bool], Array]:
    """Return evaluation-mode and training-mode logits of 8 images for each network."""
    found = {}
    plan = evaluation_plan(np.arange(8, dtype=np.int64), 8, Preprocess((1 / 128,), (1.0,)))
    with RemoteBackend(name) as backend:
        for title, network in networks.items():
            task = Task("sgd", network.trainable("none"))
            with backend.open(
                network, task, device="cpu", precision="float64", numerics="strict"
            ) as s:
                s.import_weights(weights.draw(network, SEED))
                handle = s.put(images()[0][:8], None)
                for training in (False, True):
                    found[title, training] = s.forward(handle, plan, training=training)
    return found


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--backends", default=",".join(BACKENDS))
    arguments = parser.parse_args()
    reference, *others = arguments.backends.split(",")
    print(
        f"| float64, largest relative difference from {reference}", *others, sep=" | ", end=" |\n"
    )
    print("|---|" + "---|" * len(others))
    network = build("resnet18", {}, (3, SIZE, SIZE), 10)
    for title, optimizer in OPTIMIZERS.items():
        first = losses(reference, network, optimizer, arguments.steps)
        cells = [
            np.max(np.abs(losses(other, network, optimizer, arguments.steps) - first) / first)
            for other in others
        ]
        work = f"| resnet18, {arguments.steps} steps, loss, {title}"
        print(f"{work} ({first[0]:.3f} → {first[-1]:.3f})", *(f"{cell:.1e}" for cell in cells),
              sep=" | ", end=" |\n", flush=True)  # fmt: skip
    networks = {
        f"resnet{depth}": build(f"resnet{depth}", {}, (3, SIZE, SIZE), 10)
        for depth in (18, 34, 50, 101, 152)
    }
    ours = logits(reference, networks)
    theirs = [logits(other, networks) for other in others]
    for key, exact in ours.items():
        mode = "training" if key[1] else "evaluation"
        cells = [np.abs(found[key] - exact).max() / np.abs(exact).max() for found in theirs]
        print(f"| {key[0]}, forward, {mode} mode", *(f"{cell:.1e}" for cell in cells),
              sep=" | ", end=" |\n", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
