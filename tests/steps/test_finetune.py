"""Fine-tuning: what it starts from, what stays frozen, when it stops and what it keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from command import Run, Runner
from experiments import Tree, changed, small
from safetensors.numpy import save_file

from paribus import weights
from paribus.architectures import build
from paribus.pretrained import describe
from paribus.spec import load
from paribus.spec.paths import absolute

CNN = {"architecture": "cnn", "channels": [3, 4]}
HEAD = {"fc.weight", "fc.bias"}
# So small a step that no weight changes: what a training starts from is what it leaves.
STILL = {"name": "sgd", "learning_rate": 1e-300}


def two_steps(**finetune: Any) -> Tree:
    """Return a spec that pretrains a network with BatchNorm on some digits, then takes others."""
    return small(
        steps=["pretrain", "finetune"],
        model=CNN,
        data__classes=[5, 6, 7],
        pretrain={"epochs": 2, "data": {"classes": [0, 1, 2]}},
        finetune=finetune | {"epochs": 2},
    )


def differing(run: Run) -> set[str]:
    """Return the names of the tensors in which fine-tuning changed a bit."""
    before, after = run.tensors("pretrain"), run.tensors()
    assert list(before) == list(after)
    return {name for name in after if before[name].tobytes() != after[name].tobytes()}


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_frozen_body_keeps_every_bit_and_its_statistics(run: Runner, precision: str) -> None:
    done = run(changed(two_steps(freeze="body"), precision=precision))
    assert differing(done) == HEAD


def test_below_a_named_stage_all_is_frozen(run: Runner) -> None:
    """``block1`` and what is above it learn, the statistics of its BatchNorm included."""
    done = run(two_steps(freeze="block1"))
    block1 = {"conv1.weight"} | {
        f"bn1.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var")
    }
    assert differing(done) == block1 | HEAD


def test_without_freezing_everything_learns(run: Runner) -> None:
    done = run(two_steps())
    assert differing(done) == set(done.tensors())


def test_an_unknown_stage_is_refused_with_the_known_ones(run: Runner) -> None:
    failed = run.attempt(two_steps(freeze="layer4"))
    assert failed.done.code == 2
    assert "freeze = 'layer4'" in failed.done.said
    assert "none, body, block0, block1, neck, head" in failed.done.said


def drawn_head(seed: int) -> dict[str, npt.NDArray[Any]]:
    return weights.draw(build("cnn", {"channels": [3, 4]}, (1, 8, 8), 3), seed, only=sorted(HEAD))


def test_a_new_head_is_drawn_and_a_kept_one_is_not(run: Runner) -> None:
    for seed in (0, 1):
        tree = changed(two_steps(optimizer=STILL, freeze="body", head="new"), seed=seed)
        new = run(tree, out=f"new-{seed}").tensors()
        for name, array in drawn_head(seed).items():
            np.testing.assert_allclose(new[name], array, rtol=0, atol=1e-290)
    kept = run(two_steps(optimizer=STILL, freeze="body", head="keep"), out="kept")
    assert differing(kept) == set()


def test_weights_may_come_from_another_run(run: Runner) -> None:
    """A run folder or its file; the head is kept where asked for, and drawn anew by default."""
    first = run(small(model=CNN), out="first")
    for index, source in enumerate((first.folder, first.folder / "weights.safetensors")):
        still: Tree = {"weights": str(source), "optimizer": STILL, "freeze": "body", "epochs": 1}
        kept = run(small(model=CNN, finetune=still | {"head": "keep"}), out=f"kept-{index}")
        assert kept.result["weights_hash"] == first.result["weights_hash"]
        assert kept.result["test"] == first.result["test"]
        # four classes now, so the old head would not fit
        other = small(model=CNN, finetune=still, data__classes=[3, 4, 5, 6])
        new = run(other, out=f"new-{index}").tensors()
        assert new["fc.bias"].shape == (4,)
        for name, array in first.tensors().items():
            if name not in HEAD:
                np.testing.assert_array_equal(new[name], array)


def test_pretraining_may_start_from_another_run(run: Runner) -> None:
    first = run(small(), out="first")
    recipe = {"weights": str(first.folder), "optimizer": STILL, "epochs": 1}
    second = run(small(steps=["pretrain"], pretrain=recipe), out="second")
    assert second.result["weights_hash"] == first.result["weights_hash"]


def test_weights_that_do_not_fit_are_listed(run: Runner) -> None:
    first = run(small(model=CNN), out="first")
    for changes, words in (
        ({"model": {"architecture": "mlp"}}, "hidden.0.weight"),
        ({"model": {**CNN, "channels": [3, 5]}}, "conv1.weight: (4, 3, 3, 3) instead of (5, 3"),
    ):
        tree = small(**{"model": CNN, "finetune__weights": str(first.folder), **changes})
        failed = run.attempt(tree, "--overwrite")
        assert failed.done.code == 2
        assert words in failed.done.said


def test_a_head_of_other_outputs_is_replaced_and_the_run_says_so(run: Runner) -> None:
    first = run(small(model=CNN), out="first")
    tree = small(model=CNN, finetune__weights=str(first.folder), finetune__head="keep")
    kept = run(tree, out="kept").steps["finetune"]["initial_weights"]
    assert kept == f"the weights in {first.folder}, with its head"
    replaced = run(changed(tree, data__classes=[3, 4, 5, 6]), "--verbose", out="replaced")
    said = "a new head of 4 outputs, since its own has others"
    assert said in replaced.steps["finetune"]["initial_weights"]
    assert replaced.done.err.count(said) == 1
    fresh = run(changed(tree, finetune__head="new"), out="fresh")
    assert fresh.steps["finetune"]["initial_weights"].endswith(", a new head")


def test_missing_and_broken_weights_are_refused(run: Runner) -> None:
    broken = run.folder / "broken.safetensors"
    broken.write_bytes(b"not a tensor in sight")
    nan, whole = run.folder / "nan.safetensors", run.folder / "whole.safetensors"
    save_file({"fc.bias": np.array([0.0, np.nan])}, nan)
    save_file({"fc.bias": np.array([0, 1], dtype=np.int32)}, whole)
    for source, words in (
        ("nowhere", "nowhere; allowed: a run folder"),
        (str(broken), "not a readable"),
        (str(nan), "NaN or infinite values, which cannot train: fc.bias"),
        (str(whole), "weights are floats, but not all are: fc.bias (int32)"),
    ):
        failed = run.attempt(small(finetune__weights=source), "--overwrite")
        assert failed.done.code == 2
        assert words in failed.done.said


def stopping(**changes: Any) -> Tree:
    """Return a training that gets worse sooner or later: large steps, few examples."""
    recipe = {
        "epochs": 40,
        "batch_size": 8,
        "optimizer": {"name": "sgd", "learning_rate": 1.5},
        "early_stopping": {"patience": 2},
    }
    return small(finetune=recipe | changes)


def test_early_stopping_stops_and_the_best_epoch_is_kept(run: Runner) -> None:
    done = run(stopping(), out="first")
    found = done.steps["finetune"]
    losses = [row["loss"] for row in done.rows(step="finetune", split="validation")]
    assert found["stopped_early"]
    assert found["epochs"] == len(losses) < 40
    assert found["kept_epoch"] == 1 + losses.index(min(losses))
    assert found["kept_epoch"] == len(losses) - 2
    assert found["validation"]["loss"] == min(losses)
    # and the weights in the folder are those: evaluated again, they give the same
    recipe = {"weights": str(done.folder), "head": "keep", "optimizer": STILL, "epochs": 1}
    again = run(small(finetune=recipe), out="again")
    assert again.steps["finetune"]["validation"] == found["validation"]
    assert again.result["weights_hash"] == done.result["weights_hash"]


def test_the_last_epoch_is_kept_where_that_is_asked_for(run: Runner) -> None:
    found = run(stopping(keep="last")).steps["finetune"]
    assert found["stopped_early"]
    assert found["kept_epoch"] == found["epochs"]


def test_the_best_by_accuracy(run: Runner) -> None:
    done = run(stopping(monitor="accuracy", early_stopping=None, epochs=8))
    accuracies = [row["accuracy"] for row in done.rows(step="finetune", split="validation")]
    assert len(accuracies) == 8
    assert done.steps["finetune"]["kept_epoch"] == 1 + accuracies.index(max(accuracies))


def test_a_fine_tuning_that_diverges_fails_and_says_where(run: Runner) -> None:
    wild = {"name": "sgd", "learning_rate": 1e6, "weight_decay": 1e3}
    failed = run.attempt(
        small(finetune__optimizer=wild, finetune__batch_size=2, finetune__epochs=40)
    )
    assert failed.done.code == 1
    assert "finetune: the training loss became" in failed.done.err
    assert "Lower the learning rate" in failed.done.err
    assert "Traceback" not in failed.done.said
    assert failed.result["status"] == "failed"
    assert failed.result["error"]["kind"] == "NonFiniteLoss"
    assert failed.result["error"]["message"] in failed.done.err
    last = failed.rows(split="train")[-1]
    assert f"optimizer step {last['optimizer_step']} " in failed.done.err
    # NaN is not JSON
    assert last["loss"] is None
    assert not (failed.folder / "weights.safetensors").exists()
    assert "test" not in failed.result


def test_a_model_that_diverges_in_its_last_step_is_no_result(run: Runner) -> None:
    """The loss of a step is computed before its update; without validation nobody looks again."""
    wild = {"name": "sgd", "learning_rate": 1e6, "weight_decay": 1e3}
    recipe: Tree = {"batch_size": 100, "keep": "last", "optimizer": wild}
    for index, epochs in enumerate((16, 17, 18, 19, 34, 35, 36)):
        tree = small(
            finetune=recipe | {"epochs": epochs}, data__split={"validation": 0.0, "test": 0.2}
        )
        done = run.attempt(tree, out=f"out-{index}")
        result = done.result
        finite = (
            all(np.isfinite(array).all() for array in done.tensors().values())
            if (done.folder / "weights.safetensors").exists()
            else False
        )
        assert (result["status"] == "complete") == (done.done.code == 0)
        if result["status"] == "complete":
            assert finite
            assert result["test"]["loss"] is not None
        else:
            assert result["error"]["kind"] == "NonFiniteLoss"


def test_a_body_that_transformers_published_is_taken_from_its_folder(
    run: Runner, published: Path
) -> None:
    """The folder says which network it is; three of its classes make room for three digits."""
    folder = published / "vit"
    tree = small(
        data__image={"size": [32, 32], "channels": 3},
        model=dict(describe(folder).model),
        finetune={"weights": str(folder), "epochs": 1, "optimizer": STILL},
    )
    trained, given = run(tree).tensors(), weights.load(folder)
    assert set(trained) == set(given)
    for name, tensor in trained.items():
        same = np.array_equal(tensor, given[name])
        assert same == (not name.startswith("heads.head")), name


def test_a_model_of_the_hub_is_no_path(tmp_path: Path) -> None:
    tree = small(finetune__weights="hub:google-bert/bert-base-uncased@main")
    (tmp_path / "spec.json").write_text(json.dumps(tree))
    spec = load(tmp_path / "spec.json")
    assert absolute(spec).finetune.weights == "hub:google-bert/bert-base-uncased@main"
