"""How a training goes through its examples, and which examples it never sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from command import Run, Runner
from experiments import Tree, save_npz, small, table

CNN = {"architecture": "cnn", "channels": [3, 4]}


def test_gradient_descent_takes_one_step_an_epoch(run: Runner) -> None:
    """The exact mean gradient: how many rows are computed at once changes nothing but noise."""
    optimizer = {"name": "gradient_descent", "learning_rate": 0.5}
    recipe: Tree = {"epochs": 5, "optimizer": optimizer}
    whole = run(small(finetune=recipe | {"batch_size": 64}), out="whole")
    parts = run(small(finetune=recipe | {"batch_size": 7}), out="parts")
    assert whole.steps["finetune"]["optimizer_steps"] == 5
    assert [row["epoch"] for row in parts.rows(split="train")] == [1, 2, 3, 4, 5]
    losses = whole.losses()
    assert losses == sorted(losses, reverse=True)
    np.testing.assert_allclose(parts.losses(), losses, rtol=1e-12)


def test_shards_are_the_same_training_without_batch_norm(run: Runner) -> None:
    whole = run(small(finetune__batch_size=18), out="whole")
    parts = run(small(finetune__batch_size=18, finetune__shards=3), out="parts")
    np.testing.assert_allclose(parts.losses(), whole.losses(), rtol=1e-12)
    assert parts.steps["finetune"]["optimizer_steps"] == whole.steps["finetune"]["optimizer_steps"]


def test_batch_norm_normalises_within_a_shard(run: Runner) -> None:
    whole = run(small(model=CNN, finetune__batch_size=18), out="whole")
    parts = run(small(model=CNN, finetune__batch_size=18, finetune__shards=3), out="parts")
    assert np.abs(np.subtract(parts.losses(), whole.losses())).max() > 1e-6


@pytest.mark.parametrize(("last_batch", "steps"), [("keep", 3), ("drop", 2)])
def test_the_last_batch(run: Runner, last_batch: str, steps: int) -> None:
    """54 training rows in batches of 20."""
    done = run(small(finetune__batch_size=20, finetune__last_batch=last_batch))
    assert done.steps["finetune"]["optimizer_steps"] == 2 * steps


def test_the_loss_of_training_is_a_mean_over_examples(run: Runner) -> None:
    found = run(small(finetune__batch_size=20))
    kept = found.steps["finetune"]["kept_epoch"]
    losses = found.losses(epoch=kept)
    mean = sum(n * loss for n, loss in zip((20, 20, 14), losses, strict=True)) / 54
    assert found.steps["finetune"]["train"]["loss"] == pytest.approx(mean, rel=1e-14)


def test_every_optimizer_and_schedule_trains(run: Runner) -> None:
    optimizers: list[Tree] = [
        {"name": "gradient_descent"},
        {"name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
        {"name": "adam"},
        {"name": "adamw"},
        {"name": "rmsprop", "momentum": 0.5},
    ]
    schedules = ["constant", {"name": "step", "every_epochs": 2}, "linear", "cosine", "constant"]
    rates = []
    for index, (optimizer, schedule) in enumerate(zip(optimizers, schedules, strict=True)):
        recipe = {"epochs": 6, "optimizer": optimizer, "schedule": schedule, "clip_norm": 1.0}
        done = run(small(finetune=recipe), out=f"out-{index}")
        losses = done.losses()
        assert losses[-1] < losses[0]
        rates.append([row["learning_rate"] for row in done.rows(split="train")])
    assert len(set(rates[0])) == 1
    assert len(set(rates[1])) == 3
    assert rates[2] == sorted(rates[2], reverse=True)
    assert rates[3] == sorted(rates[3], reverse=True)


def parts(run: Runner, name: str, test: Any) -> Run:
    """Run on a file whose test set is ``test``; what is fitted to data is fitted too."""
    x, y = table(40)
    x_test, y_test = table(12)
    path = run.folder / f"{name}.npz"
    np.savez(path, x_train=x, y_train=np.array(y), x_test=test(x_test), y_test=np.array(y_test))
    section: Tree = {"source": "npz", "path": str(path), "transform": {"normalize": "train"}}
    search = {"finetune.optimizer.learning_rate": [0.01, 0.1]}
    tree = small(
        steps=["pretrain", "select", "optimize", "finetune"],
        data=section,
        pretrain={"epochs": 1},
        select={"folds": 2, "epochs": 1, "candidates": [{"name": "mlp"}]},
        optimize={"sampler": "grid", "epochs": 1, "search": search},
    )
    return run(tree, out=name)


def test_no_step_looks_at_the_test_set(run: Runner) -> None:
    """Another test set: the same numbers to the last bit everywhere, but for the test."""
    first = parts(run, "first", lambda x: x)
    second = parts(run, "second", lambda x: -100.0 * x)
    assert first.result["weights_hash"] == second.result["weights_hash"]
    assert first.rows()[:-1] == second.rows()[:-1]
    assert first.result["test"]["loss"] != second.result["test"]["loss"]


def test_the_test_set_is_evaluated_once_at_the_end(run: Runner) -> None:
    done = parts(run, "once", lambda x: x)
    rows = done.rows()
    assert [row["split"] for row in rows].count("test") == 1
    test = {"step": "test", "split": "test", **done.result["test"]}
    assert rows[-1] == test
    assert test["examples"] == 12


def test_the_test_may_be_left_out(run: Runner) -> None:
    done = run(small(evaluate_test=False))
    assert "test" not in done.result
    assert done.rows(split="test") == []


def test_augmentation_is_part_of_the_experiment(run: Runner) -> None:
    """Drawn from the seed: repeated with it, other with another one, none in evaluation."""
    transform = {"pad": 1, "horizontal_flip": True}
    tree = small(data__transform=transform, finetune__epochs=1)
    first, again = run(tree, out="first"), run(tree, out="again")
    plain = run(small(finetune__epochs=1), out="plain")
    assert first.rows() == again.rows()
    assert first.losses()[0] != plain.losses()[0]
    # The validation images are the same: with weights that do not move, so is their loss.
    still = {"finetune__optimizer": {"name": "sgd", "learning_rate": 1e-300}}
    moved = run(small(data__transform=transform, **still), out="moved")
    unmoved = run(small(**still), out="unmoved")
    assert moved.rows(split="validation") == unmoved.rows(split="validation")


def test_images_in_folders(run: Runner) -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 90, size=(24, 10, 8, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        name = ("ant", "bee")[index % 2]
        folder = run.folder / "insects" / ("test" if index < 8 else "train") / name
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image + np.uint8(120 * (index % 2))).save(folder / f"{index}.png")
    data = {
        "source": "image_folder",
        "path": str(run.folder / "insects"),
        "image": {"size": [8, 8]},
    }
    done = run(small(data=data, model=CNN, finetune__epochs=8))
    assert done.result["model"]["class_names"] == ["ant", "bee"]
    assert done.result["model"]["input_shape"] == [3, 8, 8]
    assert done.result["test"]["examples"] == 8
    assert done.result["test"]["accuracy"] == 1.0


def test_tables(run: Runner) -> None:
    x, y = table(90)
    path = save_npz(run.folder / "table.npz", x, y, class_names=np.array(["a", "b", "c"]))
    done = run(small(data={"source": "npz", "path": str(path)}, finetune__epochs=30))
    assert done.result["model"]["class_names"] == ["a", "b", "c"]
    assert done.result["test"]["accuracy"] > 0.9
