"""A run begun on one backend goes on on another, in every step, and ends where it would have."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, permutations

import languages
import pytest
from command import Run, Runner, Worker
from experiments import changed
from labs import PROMISED
from resumed import ALL, apart, by_training, same, without

# Optimizer steps of the legs: they end in the middle of pretraining's first epoch, in a fold of the
# selection, in a trial, and in fine-tuning; each on the other backend than the one before.
LEGS = (1, 12, 27, 18)

TEXTS = {
    name: changed(languages.EXPERIMENTS[name], **{f"{step}__epochs": 2})
    for name, step in (("masked", "pretrain"), ("last", "finetune"))
}


@pytest.fixture(scope="module")
def runners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Runner]]:
    """A worker per backend, because two frameworks do not share a process."""
    folder = tmp_path_factory.mktemp("elsewhere")
    languages.write(folder)
    workers = {name: Worker() for name in PROMISED}
    yield {name: Runner(folder, worker) for name, worker in workers.items()}
    for worker in workers.values():
        worker.close()


@pytest.fixture(scope="module")
def whole(runners: dict[str, Runner]) -> dict[str, Run]:
    return {
        name: runner(ALL, "--backend", name, out=f"whole-{name}")
        for name, runner in runners.items()
    }


def in_legs(
    runners: dict[str, Runner], tree: dict[str, object], order: list[str], out: str,
    steps: tuple[int, ...],
) -> Run:  # fmt: skip
    """Run a spec in legs of so many steps on these backends, and the rest on the last one."""
    for number, name in enumerate(order):
        options = ["--backend", name]
        options += ["--stop-after", str(steps[number])] if number < len(steps) else []
        runner = runners[name]
        if number == 0:
            run = runner(tree, *options, out=out)
            continue
        spec = runner.folder / f"{out}.json"
        done = runner.worker("run", spec, "--resume", out, *options, cwd=runner.folder)
        assert done.code == 0, done.err
        run = Run(runner.folder / out, done)
    return run


def test_the_legs_end_in_each_step(whole: dict[str, Run]) -> None:
    rows = whole["torch"].rows(split="train")
    ends = [sum(LEGS[: n + 1]) for n in range(len(LEGS))]
    before_and_after = [(rows[end - 1]["step"], rows[end]["step"]) for end in ends]
    assert before_and_after == [(s, s) for s in ("pretrain", "select", "optimize", "finetune")]


TORCH, TENSORFLOW, HUGGINGFACE, JAX = PROMISED
# From every backend to every other one; that they also do so in each step is shown in full.
ROUNDS = [
    [TORCH, TENSORFLOW, TORCH, HUGGINGFACE, TORCH],
    [TENSORFLOW, HUGGINGFACE, TENSORFLOW, JAX, TENSORFLOW],
    [JAX, TORCH, JAX, HUGGINGFACE, JAX],
]
BOTH_WAYS = [
    [first, second, first, second, first] for first, second in permutations(PROMISED, 2)
]  # fmt: skip


def test_the_rounds_have_every_pair() -> None:
    taken = [pair for order in ROUNDS for pair in pairwise(order)]
    assert sorted(taken) == sorted(permutations(PROMISED, 2))


@pytest.mark.parametrize(
    "order", [*ROUNDS, *(pytest.param(order, marks=pytest.mark.full) for order in BOTH_WAYS)],
    ids="-".join,
)  # fmt: skip
def test_from_one_backend_to_another_and_back(
    runners: dict[str, Runner], whole: dict[str, Run], order: list[str]
) -> None:
    """In float64, where what remains between backends is rounding: 1e-9 of a tensor's largest."""
    found = in_legs(runners, ALL, order, "-".join(order), LEGS)
    assert [leg["backend"] for leg in found.result["legs"]] == order
    for name in dict.fromkeys(order):
        assert apart(found, whole[name]) < 1e-9
        ours, theirs = by_training(found), by_training(whole[name])
        numbers = {"loss", "accuracy"}
        assert without(ours, numbers) == without(theirs, numbers)
        for ours_row, theirs_row in zip(ours, theirs, strict=True):
            assert ours_row["loss"] == pytest.approx(theirs_row["loss"], rel=1e-9)
        assert found.steps["select"]["chosen"] == whole[name].steps["select"]["chosen"]
        best = [run.steps["optimize"]["best"]["number"] for run in (found, whole[name])]
        assert best[0] == best[1]
        tests = [run.result["test"] for run in (found, whole[name])]
        assert tests[0] == pytest.approx(tests[1], rel=1e-9)


@pytest.mark.parametrize("name", ["tensorflow", "huggingface"])
def test_on_the_same_backend_the_bits_are_the_same(
    runners: dict[str, Runner], whole: dict[str, Run], name: str
) -> None:
    same(in_legs(runners, ALL, [name] * 5, f"{name}-legs", LEGS), whole[name])


@pytest.mark.parametrize(
    ("name", "pair"),
    [
        ("masked", ("torch", "tensorflow")),
        ("masked", ("tensorflow", "huggingface")),
        ("last", ("huggingface", "tensorflow")),
    ],
)
def test_of_texts(runners: dict[str, Runner], name: str, pair: tuple[str, str]) -> None:
    """BERT by masked language modelling, then classes; GPT-2 by classes; AdamW."""
    out = f"{name}-{'-'.join(pair)}"
    once = runners[pair[1]](TEXTS[name], "--backend", pair[1], out=f"{out}-once")
    steps = once.result["optimizer_steps"]
    legs = (steps // 3, steps // 3)
    found = in_legs(runners, TEXTS[name], [*pair, pair[0]], out, legs)
    assert apart(found, once) < 1e-9


def test_in_float32_the_bits_are_the_same_too(runners: dict[str, Runner]) -> None:
    tree = changed(ALL, precision="float32", steps=["finetune"])
    once = runners["tensorflow"](tree, "--backend", "tensorflow", out="float32")
    same(in_legs(runners, tree, ["tensorflow"] * 2, "float32-legs", (3,)), once)
