"""How --set, candidates, trials and [pretrain.data] change a spec."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paribus.errors import SpecError
from paribus.spec import assign, dumps, get_path, load, merge, set_path, variant
from paribus.spec.formats import parse as parse_text
from paribus.spec.load import parse_override
from paribus.spec.merge import difference, merge_data, ordered
from paribus.spec.tree import parse, show

SELECT = {"candidates": [{"name": "a"}, {"name": "b", "model": "mlp"}]}


def test_tables_merge_and_everything_else_is_replaced() -> None:
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert merge(base, {"a": {"c": [3]}, "e": {}}) == {"a": {"b": 1, "c": [3]}, "d": 1, "e": {}}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 1}


@pytest.mark.parametrize("patch", ["adam", {"name": "adam"}])
def test_another_optimizer_takes_nothing_from_the_old_one(patch: Any) -> None:
    base = {"optimizer": {"name": "sgd", "momentum": 0.9}}
    assert merge(base, {"optimizer": patch}) == {"optimizer": {"name": "adam"}}
    assert merge(base, {"optimizer": {"name": "sgd", "nesterov": True}}) == {
        "optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True}
    }


def test_another_architecture_takes_nothing_from_the_old_one() -> None:
    spec = load({"model": {"architecture": "mlp", "hidden": [4]}}, ["model.architecture=resnet18"])
    assert spec.model.model_dump() == {"architecture": "resnet18", "stochastic_depth": 0.0}


def test_a_bare_string_is_short_for_a_table() -> None:
    spec = load({"model": "mlp", "finetune": {"optimizer": "adam", "schedule": "cosine"}})
    names = spec.model.architecture, spec.finetune.optimizer.name, spec.finetune.schedule.name
    assert names == ("mlp", "adam", "cosine")
    spec = load({"finetune": {"optimizer": "adam"}}, ["finetune.optimizer.beta1=0.5"])
    assert spec.finetune.optimizer.model_dump()["beta1"] == 0.5


def test_a_table_that_does_not_say_what_it_is_is_the_default_one() -> None:
    spec = load({"model": {"kernel": 5}}, ["finetune.optimizer.momentum=0.5"])
    assert spec.model == type(spec.model)(kernel=5)
    assert spec.finetune.optimizer.model_dump()["momentum"] == 0.5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b=3", (("a", "b"), 3)),
        ("a.b = 3.0", (("a", "b"), 3.0)),
        ("a=true", (("a",), True)),
        ("a=adam", (("a",), "adam")),
        ("a='3'", (("a",), "3")),
        ("a=", (("a",), "")),
        ("a=x=y", (("a",), "x=y")),
        ("a=[1, 2]", (("a",), [1, 2])),
        ("a={b = 1}", (("a",), {"b": 1})),
        ("a=2026-01-01", (("a",), "2026-01-01")),
        ("a=1\nb=2", (("a",), "1\nb=2")),
        ("a.0.b=1", (("a", "0", "b"), 1)),
        ("a[0].b=1", (("a", 0, "b"), 1)),
        ('optimize.search."finetune.epochs"=[1]', (("optimize", "search", "finetune.epochs"), [1])),
    ],
)
def test_an_override_is_a_path_and_a_toml_value_or_a_bare_string(text: str, expected: Any) -> None:
    path, value = parse_override(text)
    assert (path, value) == expected
    assert type(value) is type(expected[1])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("finetune.epochs", "--set finetune.epochs: write key=value, such as finetune.epochs=3"),
        ("=3", "write key=value"),
        ("a..b=3", "'a..b' is not the path of a key (character 2)"),
        ("finetun.epochs=3", "finetun = {'epochs': 3}: unknown key. Did you mean 'finetune'?"),
        ("finetune.epoch=3", "Did you mean 'finetune.epochs'?"),
        ("finetune.epochs=nan", "finetune.epochs = nan: numbers must be finite"),
        ("select.candidates.2.name=x", "select.candidates is a list; its indices: 0 to 1"),
        ("select.candidates.x.name=y", "select.candidates is a list; its indices: 0 to 1"),
        ("seed.x=1", "seed.x: seed = 3 is a value and has no keys; set seed itself"),
        ("data[0]=1", "data[0]: data is no list"),
        ("steps[0]=select", "steps[0]: there is no list steps yet; give it as a whole"),
    ],
)
def test_a_wrong_override_says_why(override: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        load({"seed": 3, "data": {}, "select": SELECT}, [override])
    assert message in str(caught.value)


def test_overrides_reach_into_lists() -> None:
    overrides = ["select.candidates.0.name=x", "select.candidates[1].model.hidden=[7]"]
    spec = load({"select": SELECT}, overrides)
    assert spec.select is not None
    assert spec.select.candidates[0].name == "x"
    assert spec.select.candidates[1].patch == {"model": {"architecture": "mlp", "hidden": [7]}}


def test_what_decides_is_set_first_whatever_the_order() -> None:
    overrides = ["finetune.optimizer.beta1=0.5", "finetune.optimizer.name=adam"]
    assert load({}, overrides) == load({}, overrides[::-1])
    paths = [parse(p) for p in ("m.optimizer.beta1", "m.optimizer.name", "m.optimizer", "seed")]
    assert [show(p) for p in ordered(paths)] == [
        "seed", "m.optimizer", "m.optimizer.name", "m.optimizer.beta1",
    ]  # fmt: skip


def test_keyword_values_come_last_and_none_is_not_given() -> None:
    spec = load({"seed": 1}, ["seed=2", "name=a"], seed=3, name=None, finetune={"epochs": 4})
    assert (spec.seed, spec.name, spec.finetune.epochs) == (3, "a", 4)


def test_none_takes_a_value_back() -> None:
    base = {"finetune": {"clip_norm": 1.0, "early_stopping": {"patience": 3}}, "select": SELECT}
    spec = load(base, ["finetune.clip_norm=none", "finetune.early_stopping=none", "select=none"])
    assert (spec.finetune.clip_norm, spec.finetune.early_stopping) == (None, None)
    assert (spec.select, spec.steps) == (None, ["finetune"])
    assert variant(load(base), {"finetune": {"clip_norm": None}}).finetune.clip_norm is None


def test_pretraining_data_are_the_data_with_changes() -> None:
    data = {"limit": 100, "split": {"validation": 0.3}, "transform": {"pad": 2}}
    spec = load({"data": data, "pretrain": {"data": {"limit": "none", "transform": {"pad": 4}}}})
    assert spec.pretrain.data is not None
    assert spec.pretrain.data.limit is None
    assert spec.pretrain.data.split.validation == 0.3
    assert spec.pretrain.data.transform.pad == 4
    assert load(parse_text(dumps(spec), ".toml", "spec")) == spec


def test_another_source_keeps_the_transforms_and_leaves_what_describes_the_old_source() -> None:
    data = {"source": "npz", "path": "a.npz", "groups": "patient", "transform": {"pad": 2}}
    spec = load({"data": data, "pretrain": {"data": {"source": "digits"}}})
    assert spec.pretrain.data is not None
    assert (spec.pretrain.data.path, spec.pretrain.data.groups) == (None, None)
    assert spec.pretrain.data.transform.pad == 2


def test_a_candidate_is_the_spec_with_its_patch() -> None:
    spec = load({"data": {"limit": 50}, "pretrain": {"data": {"limit": 90}}, "select": SELECT})
    changed = variant(spec, {"model": "mlp", "data": {"transform": {"pad": 1}}}, "b")
    assert changed.model.architecture == "mlp"
    assert changed.data.limit == 50
    assert changed.pretrain.data is not None
    assert (changed.pretrain.data.limit, changed.pretrain.data.transform.pad) == (90, 1)
    assert changed.select == spec.select
    assert variant(spec, {}) == spec


def test_errors_of_a_candidate_name_it() -> None:
    with pytest.raises(SpecError, match=r"candidate 'big': 1 problem\n  model.kernel = 2: allowed"):
        variant(load({}), {"model": {"kernel": 2}}, "big")


def test_a_trial_sets_dotted_keys() -> None:
    spec = load({"finetune": {"optimizer": {"name": "sgd", "momentum": 0.9}}})
    values = {"finetune.optimizer.learning_rate": 0.5, "finetune.optimizer.name": "adam"}
    optimizer = assign(spec, values).finetune.optimizer
    assert (optimizer.name, optimizer.learning_rate) == ("adam", 0.5)
    with pytest.raises(SpecError, match="trial: 1 problem\n  seed: stays equal"):
        assign(spec, {"seed": 1})
    with pytest.raises(SpecError, match=r"finetune.epochs = 0: allowed: a whole number from 1"):
        assign(spec, {"finetune.epochs": 0})


def test_get_path_names_the_nearest_key() -> None:
    tree = {"finetune": {"optimizer": "adam", "epochs": 3}, "list": [1, 2]}
    assert get_path(tree, ("finetune", "optimizer", "name")) == "adam"
    assert get_path(tree, ("list", "1")) == 2
    with pytest.raises(SpecError, match=r"no such key in finetune. Did you mean 'epochs'\?"):
        get_path(tree, ("finetune", "epoch"))
    with pytest.raises(SpecError, match="its indices: 0 to 1"):
        get_path(tree, ("list", 2))
    with pytest.raises(SpecError, match=r"finetune.epochs = 3 is a value and has no keys"):
        get_path(tree, ("finetune", "epochs", "x"))


PARTS = st.integers(0, 99) | st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
KEYS = st.sampled_from(["a", "b", "data", "source", "path", "limit", "model", "optimizer"])
VALUES = st.recursive(
    st.integers(0, 3) | st.booleans(),
    lambda inner: st.dictionaries(KEYS, inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=12,
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=5)


@given(st.lists(PARTS, min_size=1, max_size=4).filter(lambda parts: isinstance(parts[0], str)))
def test_parse_is_the_inverse_of_show(parts: list[str | int]) -> None:
    assert parse(show(tuple(parts))) == tuple(parts)


@given(TABLES, st.lists(KEYS, min_size=1, max_size=3), st.integers())
def test_a_value_that_is_set_is_there(tree: dict[str, Any], path: list[str], value: int) -> None:
    try:
        changed = set_path(tree, tuple(path), value)
    except SpecError:
        with pytest.raises(SpecError):
            get_path(tree, tuple(path))
    else:
        assert get_path(changed, tuple(path)) == value


@given(TABLES)
def test_merging_nothing_and_merging_itself_change_nothing(tree: dict[str, Any]) -> None:
    assert merge(tree, {}) == tree
    assert merge(tree, tree) == tree
    assert merge({}, tree) == tree


SECTIONS = st.fixed_dictionaries(
    {"source": st.sampled_from(["digits", "fashion_mnist"])},
    optional={
        "limit": st.integers(2, 4),
        "classes": st.lists(st.integers(0, 9), min_size=2, max_size=3, unique=True),
        "split": st.fixed_dictionaries(
            {"validation": st.sampled_from([0.1, 0.2])}, optional={"seed": st.integers(0, 3)}
        ),
        "transform": st.fixed_dictionaries({"pad": st.integers(0, 2)}),
    },
)


@given(SECTIONS, SECTIONS)
def test_a_difference_of_data_leads_from_one_to_the_other(
    base: dict[str, Any], other: dict[str, Any]
) -> None:
    def without_none(tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        return {key: without_none(value) for key, value in tree.items() if value != "none"}

    assert without_none(merge_data(base, difference(base, other))) == other
