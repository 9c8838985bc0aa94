"""The starter spec, the resolved spec and the JSON Schema say what the sections say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from paribus.spec import Spec, describe, dumps, load, schema, starter
from paribus.spec.dump import tree_of
from paribus.spec.formats import parse

EXAMPLES = ("candidates", "search", "steps")  # they have no default of their own


def uncommented() -> dict[str, Any]:
    """Every key of the starter, the ones that are commented out included.

    Keys that only another architecture or optimizer has stand beside the ones of the default.
    """
    return tomllib.loads(re.sub(r"(?m)^# (?=\[|[a-z0-9_]+ = )", "", starter()))


def defaults() -> dict[str, Any]:
    base = {"select": {"candidates": [{"name": "a"}]}, "optimize": {"search": {"model": ["cnn"]}}}
    return tree_of(load(base))


def stated(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in tree.items():
        if key not in EXAMPLES:
            yield (*path, key)
            if isinstance(value, dict):
                yield from stated(value, (*path, key))


def at(tree: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def test_the_starter_loads_and_has_every_step(tmp_path: Path) -> None:
    file = tmp_path / "spec.toml"
    file.write_text(starter(), encoding="utf-8")
    assert load(file).steps == ["pretrain", "select", "optimize", "finetune"]


def test_every_default_that_the_starter_states_is_the_default() -> None:
    tree, expected = parse(starter(), ".toml", "starter"), defaults()
    for path in stated(tree):
        given, default = at(tree, path), at(expected, path)
        assert type(given) is type(default), ".".join(path)
        assert isinstance(given, dict) or given == default, ".".join(path)


def test_the_starter_leaves_no_default_out() -> None:
    tree = parse(starter(), ".toml", "starter")
    assert set(stated(defaults())) == set(stated(tree))


def test_the_starter_mentions_every_key() -> None:
    tree = uncommented()
    shared = {("finetune", "optimizer"), ("finetune", "schedule")}  # as in [pretrain.…]
    inside = {("pretrain", "data"), ("optimize", "search"), ("select", "candidates")}
    inside.add(("data", "transform", "normalize"))
    for path in describe.walk(describe.root()):
        if any(path[: len(top)] == top for top in shared | inside):
            continue
        at(tree, path)


def test_every_line_of_the_starter_is_short() -> None:
    assert max(map(len, starter().splitlines())) <= 100


def test_the_schema_names_shorthand_and_defaults() -> None:
    result = schema()
    json.dumps(result)
    assert result["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    model, finetune = result["properties"]["model"], result["$defs"]["FineTune"]["properties"]
    assert {"mlp", "cnn", "resnet50"} < set(model["anyOf"][0]["enum"])
    assert "adamw" in finetune["optimizer"]["anyOf"][0]["enum"]
    assert {"const": "none", "description": "No value."} in finetune["clip_norm"]["anyOf"]
    assert "required" not in result
    assert finetune["epochs"]["default"] == 10
    assert "description" in finetune["freeze"]


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,5}", fullmatch=True)
RATE = st.floats(1e-6, 1e6)
PART = st.floats(0, 0.99)
# what does not say its name takes over the spec's, whose keys a candidate cannot know
NAMED_OPTIMIZERS = st.one_of(
    st.sampled_from(["sgd", "adam", "adamw", "rmsprop", "gradient_descent"]),
    st.fixed_dictionaries(
        {"name": st.sampled_from(["adam", "adamw"])},
        optional={"learning_rate": RATE, "beta1": PART, "epsilon": st.floats(1e-12, 1)},
    ),
    st.fixed_dictionaries({"name": st.just("sgd")}, optional={"momentum": PART}),
)
OPTIMIZERS = NAMED_OPTIMIZERS | st.fixed_dictionaries(
    {}, optional={"learning_rate": RATE, "momentum": PART}
)
SCHEDULES = st.one_of(
    st.sampled_from(["constant", "step", "linear", "cosine"]),
    st.fixed_dictionaries(
        {"name": st.just("step")}, optional={"gamma": st.floats(0.01, 1), "warmup_epochs": PART}
    ),
)
MODELS = st.one_of(
    st.sampled_from(["mlp", "cnn", "resnet50"]),
    st.fixed_dictionaries(
        {"architecture": st.just("mlp")},
        optional={"hidden": st.lists(st.integers(1, 65536), min_size=1, max_size=3)},
    ),
)
RECIPES: dict[str, st.SearchStrategy[Any]] = {
    "epochs": st.integers(1, 1000000),
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "clip_norm": st.none() | st.just("none") | RATE,
    "early_stopping": st.none() | st.fixed_dictionaries({}, optional={"patience": st.just(3)}),
    "weights": st.text(max_size=8),
}
DATA = st.fixed_dictionaries(
    {},
    optional={
        "source": st.sampled_from(["digits", "fashion_mnist"]),
        "limit": st.none() | st.integers(2, 100),
        "classes": st.none() | st.sampled_from([[1, 2], ["a", "b"]]),
        "split": st.fixed_dictionaries({}, optional={"test": st.sampled_from(["auto", 0.25])}),
        "image": st.fixed_dictionaries({}, optional={"size": st.just([8, 9])}),
        "transform": st.fixed_dictionaries(
            {},
            optional={
                "normalize": st.sampled_from(["train", {"mean": [0.5], "std": [0.1 + 0.2]}]),
                "crop": st.none() | st.integers(1, 9),
            },
        ),
    },
)
CANDIDATES = st.lists(
    st.fixed_dictionaries(
        {"name": NAMES},
        optional={
            "model": MODELS,
            "finetune": st.fixed_dictionaries(
                {}, optional={**RECIPES, "optimizer": NAMED_OPTIMIZERS}
            ),
            "data": st.just({"image": {"channels": None}}),
        },
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda candidate: candidate["name"],
)
SEARCHES = st.sampled_from(
    [
        {"finetune.optimizer.learning_rate": {"low": 1e-5, "high": 1, "log": True}},
        {"finetune": {"batch_size": [16, 32], "clip_norm": [None, 0.5]}},
        {"finetune.optimizer": ["adam", {"name": "sgd", "momentum": 0.5}]},
    ]
)
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "name": NAMES,
        "seed": st.integers(0, 2**63 - 1),
        "precision": st.sampled_from(["float32", "float64", "bfloat16"]),
        "data": DATA,
        "model": MODELS,
        "pretrain": st.fixed_dictionaries({}, optional={**RECIPES, "data": DATA}),
        "select": st.fixed_dictionaries({"candidates": CANDIDATES}),
        "optimize": st.fixed_dictionaries({"search": SEARCHES}),
        "finetune": st.fixed_dictionaries({}, optional=RECIPES),
    },
)


@settings(max_examples=150, deadline=None)
@given(SPECS)
def test_a_resolved_spec_loads_to_an_equal_spec(tree: dict[str, Any]) -> None:
    spec = load(tree)
    text = dumps(spec)
    again = load(parse(text, ".toml", "spec"))
    assert again == spec
    assert dumps(again) == text
    assert load(json.loads(json.dumps(tree_of(spec)))) == spec


def test_a_resolved_spec_states_every_hyperparameter() -> None:
    tree = tomllib.loads(dumps(load({"finetune": {"optimizer": "adamw"}})))
    assert tree["finetune"]["optimizer"] == {
        "name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.01, "decay": "weights",
        "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8,
    }  # fmt: skip


def test_loading_a_spec_imports_no_framework_and_no_science(tmp_path: Path) -> None:
    file = tmp_path / "spec.toml"
    file.write_text(starter(), encoding="utf-8")
    code = (
        "import sys, paribus.spec\n"
        f"paribus.spec.load({str(file)!r})\n"
        "heavy = {'torch', 'tensorflow', 'keras', 'transformers', 'jax', 'sklearn', 'optuna',\n"
        "         'scipy', 'numpy', 'yaml', 'rich', 'typer'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_specs_are_compared_by_value() -> None:
    assert load({}) == Spec(steps=["finetune"])
