"""What people read when a spec is wrong: the key's path, what was given, what is allowed."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paribus.errors import SpecError
from paribus.spec import load, starter
from paribus.spec.formats import parse
from paribus.spec.merge import set_path

STARTER = parse(starter(), ".toml", "starter")


def message(source: Any, *overrides: str) -> str:
    with pytest.raises(SpecError) as caught:
        load(source, overrides)
    return str(caught.value)


def test_all_problems_are_listed_at_once() -> None:
    assert message({"finetune": {"epoch": 3}, "precision": "float23"}) == (
        "spec: 2 problems\n"
        "  precision = 'float23': allowed: 'float32', 'float64', 'bfloat16'. "
        "Did you mean 'float32'?\n"
        "  finetune.epoch = 3: unknown key. Did you mean 'finetune.epochs'? Allowed here: "
        "objective, epochs, batch_size, shards, last_batch, optimizer, schedule, clip_norm, "
        "on_nonfinite, most_skipped, "
        "label_smoothing, class_weights, mask_probability, group_by_length, monitor, metrics, "
        "early_stopping, keep, weights, head, freeze"
    )


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ({"seed": -1}, "seed = -1: allowed: a whole number at least 0 and below 2**63"),
        ({"seed": True}, "seed = true: allowed: a whole number at least 0 and below 2**63"),
        ({"seed": "1"}, "seed = '1': allowed: a whole number at least 0"),
        ({"evaluate_test": "yes"}, "evaluate_test = 'yes': allowed: true or false"),
        ({"evaluate_test": 1}, "evaluate_test = 1: allowed: true or false"),
        ({"device": "gpu"}, "device = 'gpu': allowed: auto, cpu, cuda, cuda:N or mps"),
        ({"name": "a b"}, "name = 'a b': allowed: text that matches ^[A-Za-z0-9]"),
        ({"name": "a" * 99}, f"name = '{'a' * 58}…: allowed: "),
        ({"epochs": 3}, "epochs = 3: unknown key. Did you mean 'pretrain.epochs' or "),
        ({"data": 3}, "data = 3: allowed: a table with the keys source, path, label, classes"),
        ({"data": {"source": "digit"}}, "Did you mean 'digits'?"),
        ({"data": {"source": "npz"}}, "data: source = 'npz' needs a path"),
        (
            {"data": {"image": {"unreadable": "skip"}}},
            "data: image.unreadable = 'skip' leaves out files of source = 'image_folder'; source = "
            "'digits' has no files",
        ),
        ({"data": {"image": {"size": [1]}}}, "data.image.size = [1]: allowed: a list of 2: a "),
        ({"data": {"image": {"size": [0, 1]}}}, "data.image.size[0] = 0: allowed: a whole number"),
        (
            {"data": {"classes": [1, "a"]}},
            "data.classes = [1, 'a']: allowed: a list of values, each a whole number, or a list of "
            "values, each text, or 'none'",
        ),
        (
            {"data": {"transform": {"normalize": "unti"}}},
            "data.transform.normalize = 'unti': allowed: 'unit', 'train', 'imagenet', or a table "
            "with the keys mean, std. Did you mean 'unit'?",
        ),
        (
            {"data": {"transform": {"normalize": {"mean": [1], "std": [0]}}}},
            "data.transform.normalize.std[0] = 0: allowed: a number above 0",
        ),
        (
            {"data": {"transform": {"normalize": {"mean": [1]}}}},
            "data.transform.normalize.std: missing; give a list of at least 1 value, each a number",
        ),
        (
            {"data": {"transform": {"normalize": {"mean": [1], "std": [1, 2]}}}},
            "data.transform.normalize: mean has 1 values and std 2",
        ),
        (
            {"data": {"split": {"test": "gven"}}},
            "data.split.test = 'gven': allowed: a number at least 0 and below 1, or 'given', "
            "'auto'. Did you mean 'given'?",
        ),
        ({"model": "resnet19"}, "model.architecture = 'resnet19': allowed: 'mlp', 'cnn', 'resn"),
        ({"model": None}, "model = null: allowed: 'mlp', 'cnn', "),
        ({"model": {"dropout": 1}}, "model.dropout = 1: allowed: a number from 0 to 0.999"),
        (
            {"dropout_masks": "native"},
            "dropout_masks = 'native' drops other values on every backend, which numerics = "
            "'strict' excludes; set numerics = 'fast'",
        ),
        ({"model": {"channels": ["a"]}}, "model.channels[0] = 'a': allowed: a whole number from"),
        ({"model": {"hidden": 3.0}}, "model.hidden = 3.0: allowed: a whole number from 0 to 65536"),
        ({"finetune": 3}, "finetune = 3: allowed: a table with the keys objective, epochs, "),
        (
            {"finetune": {"optimizer": {"name": "sgd", "beta1": 0.5}}},
            "finetune.optimizer.beta1 = 0.5: unknown key. It belongs to name = 'adam', 'adamw'. "
            "Allowed here: learning_rate, weight_decay, decay, name, momentum, nesterov",
        ),
        (
            {"finetune": {"optimizer": {"learning_rate": 0}}},
            "finetune.optimizer.learning_rate = 0: allowed: a number above 0 and at most 1000000",
        ),
        (
            {"finetune": {"optimizer": {"nesterov": True}}},
            "finetune.optimizer: nesterov = true needs momentum > 0",
        ),
        (
            {"finetune": {"schedule": []}},
            "finetune.schedule = []: allowed: 'constant', 'step', 'linear', 'cosine', or a table "
            "with name = one of these",
        ),
        (
            {"finetune": {"early_stopping": {"patience": 0}}},
            "finetune.early_stopping.patience = 0: allowed: a whole number at least 1",
        ),
        ({"select": {}}, "select.candidates: missing; give a list of 1 to 10000 values"),
        ({"select": {"candidates": [3]}}, "select.candidates[0] = 3: allowed: a table with "),
        ({"steps": ["select"]}, "  steps names 'select', but there is no [select] section"),
        ({"steps": []}, "steps = []: allowed: a list of at least 1 value, each 'pretrain', "),
        ({"steps": ["tune"]}, "steps[0] = 'tune': allowed: 'pretrain', 'select', 'optimize', "),
        (
            {"optimize": {"search": {"finetune.epochs": 3}}},
            'optimize.search."finetune.epochs" = 3: allowed: a table with the keys low, high, log, '
            "step, or a list of at least 1 value",
        ),
        (
            {"optimize": {"search": {"finetune": {"epochs": {"low": "a", "high": 3}}}}},
            "optimize.search.\"finetune.epochs\".low = 'a': allowed: a number",
        ),
        (
            {"optimize": {"search": {"finetune.epochs": {"low": 4, "high": 3}}}},
            'optimize.search."finetune.epochs": low = 4 is above high = 3',
        ),
    ],
)
def test_each_kind_of_problem_is_one_clear_line(spec: dict[str, Any], line: str) -> None:
    text = message(spec)
    assert line in text
    assert text.startswith("spec: 1 problem\n")
    assert "pydantic" not in text.lower()


def test_candidates_are_checked_before_anything_runs() -> None:
    candidates = [
        {"name": "small", "model": {"architecture": "mlp", "hidden": [8]}},
        {"name": "big", "model": {"architecture": "mlp", "hidden": [0]}},
        {"name": "other", "seed": 1, "modle": {}, "data": {"split": {"test": 0.5}}},
    ]
    differ = "model, checkpoint, pretrain, finetune, data.transform, data.image, data.text, "
    differ += "data.tokenizer"
    assert message({"select": {"candidates": candidates}}).splitlines() == [
        "spec: 4 problems",
        "  select.candidates[1].model.hidden[0] = 0: allowed: a whole number from 1 to 65536 "
        "(candidate 'big')",
        "  select.candidates[2].seed: stays equal for all candidates and trials; allowed to "
        f"differ: {differ} (candidate 'other')",
        "  select.candidates[2].modle: unknown key. Did you mean 'select.candidates[2].model'? "
        f"allowed to differ: {differ} (candidate 'other')",
        "  select.candidates[2].data.split: stays equal for all candidates and trials; allowed to "
        f"differ: {differ} (candidate 'other')",
    ]


@pytest.mark.parametrize(
    ("search", "line"),
    [
        ({"finetune.epoch": [1]}, "finetune.epoch = 1: unknown key. Did you mean 'finetune.epochs"),
        ({"finetune.epochs": {"low": 0, "high": 9}}, "finetune.epochs = 0: allowed: a whole numb"),
        ({"seed": [1, 2]}, "seed: stays equal for all candidates and trials"),
        ({"a b": [1]}, "'a b' is not the path of a key (character 2)"),
        ({"precision.x": [1]}, "precision.x: stays equal"),
        (
            {"finetune.optimizer.name": ["adam", "sgd"], "finetune.optimizer.beta1": [0.8]},
            "\"finetune.optimizer.beta1\" with finetune.optimizer.name = 'sgd': "
            "finetune.optimizer.beta1 = 0.8: unknown key.",
        ),
        (
            {"finetune.optimizer": ["adam", "sgd"], "finetune.optimizer.beta1": [0.8]},
            "with finetune.optimizer = 'sgd'",
        ),
    ],
)
def test_every_end_of_a_search_space_is_checked(search: dict[str, Any], line: str) -> None:
    assert line in message({"optimize": {"search": search}})


def test_a_search_space_must_fit_the_candidate_that_may_be_chosen() -> None:
    spec = {
        "select": {"candidates": [{"name": "net", "model": "resnet18"}]},
        "optimize": {"search": {"model.kernel": [3, 5]}},
    }
    assert "model.kernel = 3: unknown key. It belongs to architecture = 'cnn'." in message(spec)


def test_long_lists_of_problems_are_cut() -> None:
    text = message({f"key{index}": 1 for index in range(50)})
    assert text.startswith("spec: 50 problems\n")
    assert text.endswith("\n  and 30 more")


PATHS = st.sampled_from(
    [
        ("model",), ("data",), ("data", "split", "test"), ("data", "transform", "normalize"),
        ("data", "classes"), ("data", "image", "size"), ("pretrain", "data"), ("steps",),
        ("finetune", "optimizer"), ("finetune", "schedule"), ("finetune", "early_stopping"),
        ("finetune", "optimizer", "name"), ("select",), ("select", "candidates"), ("optimize",),
        ("optimize", "search"), ("select", "candidates", 0), ("select", "candidates", 0, "model"),
        ("optimize", "search", "finetune.batch_size"), ("optimize", "search", "finetune"),
    ]
)  # fmt: skip
WORDS = st.sampled_from(
    ["name", "architecture", "adam", "sgd", "cnn", "mlp", "hidden", "low", "high", "none", "data",
     "model", "finetune", "optimizer", "candidates", "mean", "std", "search", "npz", "x", ""]
)  # fmt: skip
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(path=PATHS, value=TREES)
def test_any_value_anywhere_gives_a_spec_or_a_spec_error(path: Any, value: Any) -> None:
    with suppress(SpecError):
        load(set_path(STARTER, path, value))


@settings(max_examples=200, deadline=None)
@given(tree=st.dictionaries(WORDS | st.text(max_size=5), TREES, max_size=4))
def test_any_tree_gives_a_spec_or_a_spec_error(tree: dict[str, Any]) -> None:
    with suppress(SpecError):
        load(tree)


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet="abfinetune.epochs=[]{}\"'0123 \n#\\", max_size=30))
def test_any_override_gives_a_spec_or_a_spec_error(text: str) -> None:
    with suppress(SpecError):
        load({}, [text])
