"""The proposed table, and a table that is given: what fits, what is asked, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paribus.errors import SpecError
from paribus.native import names
from paribus.native.inspection import Inspection, NativeTensor
from paribus.native.layout import Part, problems, to_canonical, to_native
from paribus.native.proposing import propose


def tensor(name: str, *shape: int, leaf: str = "weight", layout: str = "") -> NativeTensor:
    module = name.rpartition("/" if "/" in name else ".")[0]
    kind = "statistic" if leaf in ("mean", "variance") else "parameter"
    return NativeTensor(name, shape, kind, "weight", module, leaf, layout)  # type: ignore[arg-type]


def model(*tensors: NativeTensor) -> Inspection:
    return Inspection(tensors, (), (3,), {})


def test_equal_shapes_are_told_apart_by_their_roles_and_by_their_modules() -> None:
    ours = model(
        tensor("conv.weight", 8, 8, 3, 3, layout="OIHW"), tensor("conv.bias", 8, leaf="bias"),
        tensor("bn.weight", 8, leaf="scale"), tensor("bn.bias", 8, leaf="shift"),
        tensor("bn.running_mean", 8, leaf="mean"), tensor("bn.running_var", 8, leaf="variance"),
    )  # fmt: skip
    theirs = model(
        tensor("norm/gamma", 8, leaf="scale"), tensor("norm/beta", 8, leaf="shift"),
        tensor("norm/moving_mean", 8, leaf="mean"),
        tensor("norm/moving_variance", 8, leaf="variance"),
        tensor("c/kernel", 3, 3, 8, 8, layout="HWIO"), tensor("c/bias", 8, leaf="bias"),
    )  # fmt: skip
    found = propose(ours, theirs)
    assert {name: parts[0].name for name, parts in found.table.items()} == {
        "conv.weight": "c/kernel", "conv.bias": "c/bias", "bn.weight": "norm/gamma",
        "bn.bias": "norm/beta", "bn.running_mean": "norm/moving_mean",
        "bn.running_var": "norm/moving_variance",
    }  # fmt: skip
    assert found.table["conv.weight"][0].axes == (2, 3, 1, 0)
    assert (found.missing, found.extra, found.unsure) == ((), (), ())


def test_what_shapes_leave_open_goes_by_name_then_by_order_and_is_said() -> None:
    ours = model(tensor("a.weight", 4, 4, layout="OI"), tensor("b.weight", 4, 4, layout="OI"))
    by_name = model(tensor("b/kernel", 4, 4, layout="IO"), tensor("a/kernel", 4, 4, layout="IO"))
    found = propose(ours, by_name)
    assert [parts[0].name for parts in found.table.values()] == ["a/kernel", "b/kernel"]
    assert found.unsure == ()
    by_order = model(tensor("x/kernel", 4, 4, layout="IO"), tensor("y/kernel", 4, 4, layout="IO"))
    found = propose(ours, by_order)
    assert [parts[0].name for parts in found.table.values()] == ["x/kernel", "y/kernel"]
    assert found.unsure == ("a.weight is x/kernel by order; by shape it could be y/kernel",)
    # No backend knows how these lie, and a square does not say.
    unknown = propose(model(tensor("w", 4, 4)), model(tensor("v", 4, 4)))
    assert "may be transposed" in unknown.unsure[0]


def test_a_lost_tensor_is_missed_where_it_is_lost() -> None:
    ours = model(
        tensor("a.weight", 4, 4, layout="OI"), tensor("a.bias", 4, leaf="bias"),
        tensor("b.weight", 4, 4, layout="OI"), tensor("b.bias", 4, leaf="bias"),
    )  # fmt: skip
    theirs = model(
        tensor("x/kernel", 4, 4, layout="IO"),
        tensor("y/kernel", 4, 4, layout="IO"), tensor("y/bias", 4, leaf="bias"),
        tensor("z/bias", 9, leaf="bias"),
    )  # fmt: skip
    found = propose(ours, theirs)
    assert found.missing == ("a.bias",)
    assert found.extra == ("z/bias",)


def test_a_depthwise_kernel_is_laid_out_for_its_groups() -> None:
    ours = tensor("d.weight", 6, 1, 3, 3, layout="OIHW")
    theirs = tensor("d/kernel", 3, 3, 3, 2, layout="HWCM")
    (part,) = propose(model(ours), model(theirs)).table["d.weight"]
    given = np.arange(54.0).reshape(6, 1, 3, 3)
    moved = part.native(given)
    # Output channel c·m + j belongs to input channel c.
    assert moved[1, 2, 2, 1] == given[2 * 2 + 1, 0, 1, 2]
    assert np.array_equal(part.canonical(moved, (6, 1, 3, 3)), given)
    (back,) = propose(model(theirs), model(ours)).table["d/kernel"]
    assert np.array_equal(back.native(moved), given)


def test_layouts_with_views_and_parts_go_there_and_back() -> None:
    table = {
        "fc": (Part("k", (12, 5), (2, 3, 1, 0), (5, 3, 2, 2)),),
        "qkv": (Part("q", (4, 2, 2), (1, 0), (4, 4)), Part("v", (4, 4), (1, 0))),
        "b": (Part("c", (1, 7)),),
    }
    shapes = {"fc": (5, 12), "qkv": (8, 4), "b": (7,)}
    assert problems(table, shapes) == []
    given = {n: np.arange(float(np.prod(s))).reshape(s) for n, s in shapes.items()}
    moved = to_native(table, given)
    assert {name: array.shape for name, array in moved.items()} == {
        "k": (12, 5), "q": (4, 2, 2), "v": (4, 4), "c": (1, 7)
    }  # fmt: skip
    # Feature (channel 1, row 0, column 1) of the first output.
    assert moved["k"][(0 * 2 + 1) * 3 + 1, 0] == given["fc"][0, 1 * 4 + 0 * 2 + 1]
    back = to_canonical(table, shapes, moved)
    assert all(np.array_equal(back[name], given[name]) for name in shapes)


def test_a_written_table_is_read_again(tmp_path: Path) -> None:
    tables = {
        "other": {
            "fc": (Part("k", (12, 5), (2, 3, 1, 0), (5, 3, 2, 2)),),
            "qkv": (Part("q", (4, 4), (1, 0)), Part("v", (4, 4), (1, 0))),
            "b": (Part("c", (7,)),),
        }
    }
    shapes = {"fc": (5, 12), "qkv": (8, 4), "b": (7,)}
    path = tmp_path / "names.json"
    path.write_text(names.dumps("one", shapes, tables))
    found = names.read(path)
    assert found.reference == "one"
    for name, entries in found.tables["other"].items():
        parts = tables["other"][name]
        assert [(e.name, e.axes, e.view) for e in entries] == [
            (p.name, p.axes, p.view) for p in parts
        ]
        assert names.follows(entries, parts) == shapes[name]


BAD: list[tuple[Any, str]] = [
    ([], "is an object with 'reference'"),
    ({"torch": {}}, "is an object with 'reference'"),
    ({"reference": "torch", "tensorflow": 3}, "tensorflow is no table of names"),
    ({"reference": "torch", "tensorflow": {"a": 3}}, "tensorflow: a: allowed: the tensor's name"),
    ({"reference": "t", "k": {"a": {"name": "b", "axis": [1]}}}, "unknown key 'axis'"),
    ({"reference": "t", "k": {"a": {"name": "b", "axes": "10"}}}, "allowed: a list of whole"),
]


@pytest.mark.parametrize(("tree", "words"), BAD)
def test_a_bad_table_is_refused(tree: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "names.json"
    path.write_text(json.dumps(tree))
    with pytest.raises(SpecError, match=words):
        names.read(path)


def test_a_table_that_is_not_there_or_not_json(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read: No such file"):
        names.read(tmp_path / "names.json")
    (tmp_path / "names.json").write_text("{")
    with pytest.raises(SpecError, match="is not valid JSON"):
        names.read(tmp_path / "names.json")
