"""Files into trees: three formats that say the same, and errors with line and column."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from paribus.errors import SpecError
from paribus.spec import dumps, load, starter
from paribus.spec.dump import tree_of
from paribus.spec.formats import LARGEST, parse


def write(folder: Path, name: str, text: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def test_the_three_formats_give_equal_specs(tmp_path: Path) -> None:
    toml = write(tmp_path, "spec.toml", starter())
    spec = load(toml)
    tree = tree_of(spec)
    assert load(write(tmp_path, "spec.json", json.dumps(tree))) == spec
    assert load(write(tmp_path, "spec.yaml", yaml.safe_dump(tree))) == spec
    assert load(write(tmp_path, "spec.yml", yaml.safe_dump(tree, default_flow_style=True))) == spec
    assert load(write(tmp_path, "again.TOML", dumps(spec))) == spec
    assert load(tree) == spec
    assert load(spec) == spec


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "seed = \n", "not valid TOML: Invalid value (at line 1, column 8)"),
        ("a.toml", "seed = 1\nseed = 2\n", "Cannot overwrite a value (at line 2, column 9)"),
        ("a.toml", "name = 2026-01-01\n", "name = datetime.date(2026, 1, 1): a date; allowed:"),
        ("a.toml", "seed = 9223372036854775808\n", "seed: an integer of more than 64 bits"),
        ("a.toml", "[finetune]\nclip_norm = inf\n", "finetune.clip_norm = inf: numbers must be"),
        ("a.json", '{"seed": 1,}', "not valid JSON: "),
        ("a.json", '{\n "seed" 1}', "(at line 2, column 9)"),
        ("a.json", '{"seed": 1, "seed": 2}', "the key 'seed' is given twice in one table"),
        ("a.json", '{"seed": NaN}', "seed = nan: numbers must be finite"),
        ("a.json", "[1]", "a spec is a table of keys and values, but this is a list"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.json", '{"name": "\\ud800"}', "half of a surrogate pair"),
        ("a.json", '{"seed": ' + "1" * 5000 + "}", "not readable as JSON"),
        ("a.yaml", "seed: [1\n", "not valid YAML"),
        (
            "a.yaml",
            "seed: 1\nseed: 2\n",
            "'seed' is given twice in one table (at line 2, column 1)",
        ),
        ("a.yaml", "data: &a {}\nmodel: *a\n", "anchors and aliases are not allowed (at line 1"),
        ("a.yaml", "name: !!python/name:os.system\n", "is not allowed (at line 1, column 7)"),
        ("a.yaml", "name: !x y\n", "the tag '!x' is not allowed"),
        ("a.yaml", "a: 1\n---\nb: 2\n", "not valid YAML"),
        ("a.yaml", "? [a]\n: 1\n", "a key must be a string (at line 1, column 3)"),
        ("a.yaml", "1: 2\n", "key 1 is no string; put it in quotation marks"),
        ("a.yaml", "[" * 100_000, "nested deeper than 24 levels (at line 1"),
        ("a.yaml", "name: a\x07b\n", "not valid YAML"),
        ("a.toml", b"name = '\xff'\n", "line 1 is not UTF-8 text; save the file as UTF-8"),
        ("a.toml", "#" * (LARGEST + 1), "is larger than 1 MiB"),
        (
            "a.tml",
            "",
            "ends in one of .toml, .yaml, .yml, .json, not in '.tml'. Did you mean '.toml'",
        ),
    ],
)
def test_unreadable_files_say_what_and_where(
    tmp_path: Path, name: str, text: str | bytes, message: str
) -> None:
    file = write(tmp_path, name, text)
    with pytest.raises(SpecError) as caught:
        load(file)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(file))


def test_missing_files_folders_and_devices_are_named(tmp_path: Path) -> None:
    write(tmp_path, "digits.toml", "")
    with pytest.raises(SpecError, match=r"no such file. Did you mean 'digits.toml'\?"):
        load(tmp_path / "digit.toml")
    with pytest.raises(SpecError, match=r"The folder .* does not exist either"):
        load(tmp_path / "none" / "digits.toml")
    with pytest.raises(SpecError, match="is a folder; give the spec's file"):
        load(tmp_path)
    with pytest.raises(SpecError, match="cannot be read: "):
        load("a\0b.toml")
    with pytest.raises(SpecError, match="from a path or a mapping, not from 3, a int"):
        load(3)  # type: ignore[arg-type]


def test_an_empty_file_is_the_default_experiment(tmp_path: Path) -> None:
    specs = [load(write(tmp_path, name, "")) for name in ("a.toml", "a.yaml")]
    assert specs == [load({}), load({})]
    assert specs[0].steps == ["finetune"]


def test_yaml_scalars_are_those_of_yaml_1_2() -> None:
    text = "a: 1e-3\nb: no\nc: 0o7\nd: 12:30\ne: ~\nf: true\ng: -4\nh: .5\ni: 2026-01-01\nj: '1'"
    assert parse(text, ".yaml", "spec") == {
        "a": 1e-3, "b": "no", "c": "0o7", "d": "12:30", "e": None, "f": True, "g": -4, "h": 0.5,
        "i": "2026-01-01", "j": "1",
    }  # fmt: skip


def test_byte_order_marks_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    file = write(tmp_path, "a.toml", b"\xef\xbb\xbfseed = 3\r\nname = 'x'\r\n")
    assert load(file).seed == 3


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=200), suffix=st.sampled_from([".toml", ".yaml", ".json"]))
def test_arbitrary_bytes_give_a_spec_or_a_spec_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    file = write(tmp_path_factory.getbasetemp(), f"fuzz{suffix}", content)
    with suppress(SpecError):
        load(file)


@settings(max_examples=150, deadline=None)
@given(
    text=st.text(alphabet="{}[]:,-&*!|>'\"#?@%.=\n\t abc01~<", max_size=80),
    suffix=st.sampled_from([".toml", ".yaml", ".json"]),
)
def test_arbitrary_punctuation_gives_a_table_or_a_spec_error(text: str, suffix: str) -> None:
    with suppress(SpecError):
        assert isinstance(parse(text, suffix, "spec"), dict)
