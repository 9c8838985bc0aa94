"""Tables of texts: the same data set from every format, and what is refused before it is used."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tables
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from paribus import data
from paribus.data.tables import delimited, lines, table
from paribus.data.tokenizer import Tokenizer
from paribus.errors import DataError, SpecError
from paribus.spec.data import Data

ROWS = [{"text": f"text {i}", "label": "ab"[i % 2], "who": f"{i // 2}"} for i in range(8)]
# Any text that UTF-8 has; CSV's reader drops lines without anything, which a row never is here.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@pytest.fixture(scope="session")
def letters(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tables.letters(tmp_path_factory.mktemp("letters") / "tokenizer.json"))


@pytest.fixture
def load(letters: str) -> Callable[..., data.Dataset]:
    def read(path: Path, source: str = "", *, arguments: Any = (), **changes: Any) -> data.Dataset:
        section = {
            "source": source or path.suffix[1:], "path": str(path), "text": {"length": 64},
            "tokenizer": {"path": letters},
        }  # fmt: skip
        changes.setdefault("seed", 0)
        seed = changes.pop("seed")
        return data.load(Data.model_validate(section | changes), seed, *arguments)

    return read


def texts(dataset: data.Dataset) -> list[Any]:
    """Return the texts of a data set's rows, or the pairs."""
    tokenizer = Tokenizer(dataset.tokens.tokenizer)
    if dataset.x.ndim == 2:
        return [tokenizer.decode(row).replace("<|endoftext|>", "") for row in dataset.x]
    return [
        tuple(tokenizer.decode(row[row[:, 1] == segment, 0]) for segment in (0, 1))
        for row in dataset.x
    ]


@given(st.lists(st.tuples(TEXTS, TEXTS.filter(bool)), min_size=2, max_size=9))
@settings(max_examples=30)
def test_every_format_gives_the_same_data_set(letters, tmp_path_factory, pairs) -> None:
    folder = tmp_path_factory.mktemp("same")
    rows = [{"text": text, "label": label} for text, label in pairs]
    if len({row["label"] for row in rows}) < 2:
        rows[0] = {"text": "x", "label": rows[0]["label"] + "x"}
    found = []
    for source in tables.FORMATS:
        path = tables.write(source, folder / f"table.{source}", rows)
        section = Data(
            source=source, path=str(path), text={"length": 48}, tokenizer={"path": letters}
        )
        dataset = data.load(section, 0)
        assert texts(dataset) == [row["text"] for row in rows]
        names = [dataset.class_names[label] for label in dataset.y]
        assert names == [row["label"] for row in rows]
        found.append(dataset.fingerprint)
    assert len(set(found)) == 1


@pytest.mark.parametrize("source", tables.FORMATS)
@pytest.mark.parametrize(
    ("stored", "names", "y"),
    [
        ([10, 9, -1, 10], ("-1", "9", "10"), [2, 1, 0, 2]),
        (["b", "a", "B", "b"], ("B", "a", "b"), [2, 1, 0, 2]),
        (["007", "7", "10", "7"], ("007", "10", "7"), [0, 2, 1, 2]),
    ],
)
def test_classes_are_sorted_by_size_or_by_letters(load, tmp_path, source, stored, names, y) -> None:
    rows = [{"text": "t", "label": label} for label in stored]
    dataset = load(tables.write(source, tmp_path / f"t.{source}", rows), source)
    assert dataset.class_names == names
    assert dataset.y.tolist() == y


@pytest.mark.parametrize("source", ["jsonl", "parquet", "datasets"])
def test_truth_values_are_two_classes(load, tmp_path, source) -> None:
    rows = [{"text": "t", "label": label} for label in (True, False, True)]
    dataset = load(tables.write(source, tmp_path / f"t.{source}", rows), source)
    assert (dataset.class_names, dataset.y.tolist()) == (("false", "true"), [1, 0, 1])


@pytest.mark.parametrize("source", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("validation", ["validation", "val"])
def test_a_folder_has_parts_and_the_test_file_is_the_test_set(
    load, tmp_path, source, validation
) -> None:
    for part, rows in (("test", ROWS[6:]), ("train", ROWS[:4]), (validation, ROWS[4:6])):
        tables.write(source, tmp_path / f"{part}.{source}", rows)
    (tmp_path / "README.md").write_text("about")
    dataset = load(tmp_path, source)
    assert texts(dataset) == [row["text"] for row in ROWS]
    assert dataset.given_test.tolist() == [6, 7]
    assert dataset.source_rows.tolist() == list(range(8))


def test_a_saved_dict_has_parts_and_its_classes_the_names_that_it_says(load, tmp_path) -> None:
    features = {"label": tables.class_label("worse", "better")}
    for part, numbers in (("train", (1, 0, 1)), ("test", (0, 0))):
        columns = {"text": [f"{part} {n}" for n in numbers], "label": numbers}
        tables.saved(tmp_path / part, [pa.table(columns)], features)
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    dataset = load(tmp_path, "datasets")
    assert texts(dataset) == ["train 1", "train 0", "train 1", "test 0", "test 0"]
    assert dataset.y.tolist() == [1, 0, 1, 0, 0]
    assert dataset.class_names == ("worse", "better")
    assert dataset.given_test.tolist() == [3, 4]


@pytest.mark.parametrize("source", ["parquet", "datasets"])
@pytest.mark.parametrize("twice", ["", "text"])
def test_two_columns_of_a_name_are_refused_where_one_is_wanted(
    load, tmp_path, source, twice
) -> None:
    names = [twice, twice, "label"] if twice else [twice, twice, "label", "text"]
    columns = [[["a", "b"], ["c", "d"], [0, 1], ["t", "u"]][place] for place in range(len(names))]
    table, path = pa.Table.from_arrays([pa.array(c) for c in columns], names), tmp_path / "d"
    if source == "datasets":
        tables.saved(path, [table], {})
    else:
        pq.write_table(table, path := tmp_path / "d.parquet")
    if not twice:
        assert texts(load(path, source)) == ["t", "u"]
        return
    with pytest.raises(DataError, match="has 2 columns called 'text'; rename them"):
        load(path, source)


def test_class_names_may_stand_in_a_schema(load, tmp_path) -> None:
    stored = {"info": {"features": {"label": tables.class_label("z", "a")}}}
    columns = pa.table({"text": ["t", "u"], "label": [1, 0]})
    columns = columns.replace_schema_metadata({"huggingface": json.dumps(stored)})
    pq.write_table(columns, tmp_path / "t.parquet")
    assert load(tmp_path / "t.parquet").class_names == ("z", "a")
    tables.saved(tmp_path / "saved", [columns])
    (tmp_path / "saved" / "dataset_info.json").write_text("{}")
    assert load(tmp_path / "saved", "datasets").y.tolist() == [1, 0]


def test_a_saved_data_set_may_have_many_files(load, tmp_path) -> None:
    whole = pa.Table.from_pylist(ROWS)
    tables.saved(tmp_path / "d", [whole[:5], whole[5:5], whole[5:]])
    assert texts(load(tmp_path / "d", "datasets")) == [row["text"] for row in ROWS]


def test_pairs_of_texts_have_segments(load, tmp_path) -> None:
    rows = [{"a": f"one {i}", "b": f"two {i}", "label": i % 2} for i in range(4)]
    path = tables.write("jsonl", tmp_path / "t.jsonl", rows)
    dataset = load(path, text={"length": 32, "columns": ["b", "a"]})
    assert dataset.x.shape == (4, 32, 2)
    assert texts(dataset) == [(row["b"], row["a"]) for row in rows]
    assert (dataset.x[dataset.x[:, :, 0] < 0] == (-1, 0)).all()


def test_widths_are_a_quarter_a_half_and_the_whole(load, tmp_path) -> None:
    path = tables.write("csv", tmp_path / "t.csv", ROWS)
    for length, widths in ((128, (32, 64, 128)), (40, (16, 24, 40)), (8, (8,)), (4, (4,))):
        dataset = load(path, text={"length": length})
        assert dataset.tokens.widths == widths
        assert dataset.x.shape == (8, length)
        assert dataset.x.dtype == np.int32
    assert load(path, text={"length": 20, "widths": [5, 20]}).tokens.widths == (5, 20)


@pytest.mark.parametrize("source", tables.FORMATS)
def test_groups_are_numbered_whatever_they_are_called(load, tmp_path, source) -> None:
    path = tables.write(source, tmp_path / f"t.{source}", ROWS)
    assert load(path, source, groups="who").groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    # All texts of one label may be a group.
    assert load(path, source, groups="label").groups.tolist() == [0, 1] * 4


@pytest.mark.parametrize("source", tables.FORMATS)
def test_regression_reads_a_number_from_each_column(load, tmp_path, source) -> None:
    rows = [{"text": "t", "size": 0.5 * i, "weight": i} for i in range(4)]
    path = tables.write(source, tmp_path / f"t.{source}", rows)
    dataset = load(path, source, label=["weight", "size"], arguments=("regression",))
    assert dataset.y.dtype == np.float64
    assert dataset.y.tolist() == [[i, 0.5 * i] for i in range(4)]
    assert dataset.class_names == ("weight", "size")
    assert dataset.outputs == 2
    assert dataset.strata.tolist() == [0] * 4


def test_what_judges_another_step_is_left_out_with_its_groups(load, tmp_path) -> None:
    path = tables.write("csv", tmp_path / "t.csv", ROWS)
    exclude = np.array([1, 6])
    plain = load(path, arguments=("classification", exclude))
    assert plain.source_rows.tolist() == [0, 2, 3, 4, 5, 7]
    assert texts(plain) == [ROWS[i]["text"] for i in plain.source_rows]
    grouped = load(path, groups="who", arguments=("classification", exclude))
    assert grouped.source_rows.tolist() == [2, 3, 4, 5]
    with pytest.raises(DataError, match=r"no example of class 'a', since 4 rows judge another"):
        load(path, arguments=("classification", np.arange(0, 8, 2)))


def test_classes_and_limit_choose_rows_as_for_images(load, tmp_path) -> None:
    rows = [{"text": f"{i}", "label": "abc"[i % 3]} for i in range(30)]
    path = tables.write("csv", tmp_path / "t.csv", rows)
    dataset = load(path, classes=["c", "a"], limit=10)
    assert dataset.class_names == ("c", "a")
    assert np.bincount(dataset.y).tolist() == [5, 5]
    assert texts(dataset) == [rows[i]["text"] for i in dataset.source_rows]
    rows = [{"text": f"{i}", "label": i} for i in range(30)]
    path = tables.write("csv", tmp_path / "n.csv", rows)
    numbers = load(path, limit=10, arguments=("regression",))
    assert numbers.y[:, 0].tolist() == numbers.source_rows.tolist()
    assert len(numbers) == 10
    with pytest.raises(SpecError, match="objective = 'regression' there are no classes"):
        load(path, classes=[1, 2], arguments=("regression",))


CSV = "text,label\na,1\nb,2\n"
JSON = '{"text": "a", "label": 1}\n{"text": "b", "label": 2}\n'


def parquet(path: Path, **columns: Any) -> None:
    base = {"text": ["a", "b"], "label": [1, 2]}
    pq.write_table(pa.table(base | columns), path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "", "is empty"),
        ("t.csv", "text,label\n", "there are no examples"),
        ("t.csv", CSV + "c,3,4\n", "Expected 2 columns, got 3"),
        ("t.csv", CSV + '"c,3\n', "Expected 2 columns, got 1"),
        ("t.csv", CSV + "c,\n", r"'label' has no value in row 2; fill it in"),
        ("t.csv", b"text,label\na,1\n\nb\xff,2\n", "line 4 is not UTF-8"),
        ("t.csv", b"text,label\n" + b"a,1\n" * 9 + b'"x\n\xff",2\n', "line 12 is not UTF-8"),
        ("t.csv", b"te\xffxt,label\na,1\n", "cannot be read"),
        ("t.csv", CSV.replace("text", "txt"), "has no such column; it has 'txt', 'label'. Did you"),
        ("t.csv", CSV.replace("label", "text"), "has 2 columns called 'text'"),
        ("t.csv", "text,label\na,1\nb,1\n", r"1 class \(1\); classification needs at least 2"),
        ("t.jsonl", "", "is empty"),
        ("t.jsonl", JSON + "{", "line 3 is not JSON"),
        ("t.jsonl", JSON + "[1]", "line 3 is a list; expected a JSON object"),
        ("t.jsonl", JSON + "\n[" * 2 + "[" * 99999, "line 4 is not JSON"),
        ("t.jsonl", JSON + '{"text": "c"}', r"'label' has no value in row 2"),
        ("t.jsonl", JSON + '{"label": 1}', r"'text' .* has no text in row 2"),
        ("t.jsonl", JSON + '{"text": null, "label": 1}', r"'text' .* has no text in row 2"),
        ("t.jsonl", JSON + '{"text": 7, "label": 1}', r"mixes a text \(line 2\), a number"),
        ("t.jsonl", JSON + '{"text": "c", "label": "x"}', r"mixes a number .* a text \(line 3\)"),
        ("t.jsonl", JSON + '{"text": "c", "label": [1]}', "several labels of an example; one"),
        ("t.jsonl", JSON + '{"text": {"a": 1}, "label": 1}', "holds struct<>; allowed: texts"),
        ("t.jsonl", JSON + '{"text": "\\ud800", "label": 1}', "line 3 has a value that cannot be"),
        ("t.jsonl", JSON + '{"text": "c", "label": 1e999}', "holds double; allowed: texts, whole"),
        ("t.jsonl", JSON + f'{{"text": "c", "label": {10**30}}}', "line 3 has a value that cannot"),
        ("t.jsonl", JSON.encode() + b'{"text": "\xe9"}', "line 3 is not UTF-8"),
        ("t.jsonl", '{"text": "a"}\n', "'label': .* has no such column; it has 'text'"),
        ("t.parquet", "", "cannot be read"),
        ("t.parquet", b"PAR1" + b"\0" * 40 + b"PAR1", "cannot be read"),
        ("t.parquet", {"label": [[1], [2, 3]]}, "holds lists, several labels of an example"),
        ("t.parquet", {"text": [["a"], ["b"]]}, r"'text' holds list<.*; allowed: texts"),
        ("t.parquet", {"text": [1, 2]}, r"'text' .* holds int64; allowed: texts"),
        ("t.parquet", {"text": [b"a", b"b"]}, "'text' holds binary; allowed: texts"),
        ("t.parquet", {"text": ["a", None]}, "has no text in row 1"),
        ("t.parquet", {"label": [None, 2]}, "has no value in row 0"),
        ("t.parquet", {"label": [None, None]}, "has no value in rows 0, 1"),
        ("t.parquet", {"label": [0.5, 1.0]}, "holds double; .* or objective = 'regression'"),
        ("t.parquet", {"label": ["a", ""]}, "has no value in row 1"),
        ("t.parquet", {"text": [{"bytes": b"", "path": ""}] * 2}, "images, which are read from"),
    ],
)  # fmt: skip
def test_unusable_tables_are_refused(load, tmp_path, name, content, message) -> None:
    path = tmp_path / name
    if isinstance(content, dict):
        parquet(path, **content)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError, match=message):
        load(path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1.5, "x"], "has 'x' in row 1; allowed for regression: numbers"),
        ([1.5, ""], "has no value in row 1"),
        ([1.5, "nan"], "has NaN or infinity in row 1"),
        (["inf", 2], "has NaN or infinity in row 0"),
    ],
)
def test_regression_needs_finite_numbers(load, tmp_path, labels, message) -> None:
    rows = [{"text": "t", "label": label} for label in labels]
    with pytest.raises(DataError, match=message):
        load(tables.write("csv", tmp_path / "t.csv", rows), arguments=("regression",))


def test_texts_are_no_numbers_where_a_format_knows_the_difference(load, tmp_path) -> None:
    path = tables.write("jsonl", tmp_path / "t.jsonl", [{"text": "t", "label": "1"}] * 2)
    with pytest.raises(DataError, match="holds large_string; allowed for regression: numbers"):
        load(path, arguments=("regression",))
    rows = [{"text": "t", "label": label} for label in (1, 2.5)]
    path = tables.write("jsonl", tmp_path / "n.jsonl", rows)
    assert load(path, arguments=("regression",)).y.tolist() == [[1.0], [2.5]]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["test"], "has no train.csv; expected train.csv, and perhaps"),
        (["train", "dev"], r"dev.csv: it is unclear what it is for; expected train.csv"),
        (["train", "val", "validation"], "has validation.csv and val.csv; keep one"),
        ([], "has no train.csv"),
    ],
)
def test_parts_must_be_clear(load, tmp_path, files, message) -> None:
    for name in files:
        tables.write("csv", tmp_path / f"{name}.csv", ROWS)
    with pytest.raises(DataError, match=message):
        load(tmp_path, "csv")


def test_a_class_that_only_the_test_file_has_is_named(load, tmp_path) -> None:
    tables.write("csv", tmp_path / "train.csv", ROWS)
    tables.write("csv", tmp_path / "val.csv", [{"text": "t", "label": "c", "who": 1}])
    test = tables.write("csv", tmp_path / "test.csv", [{"text": "t", "label": "c", "who": 1}])
    assert load(tmp_path, "csv").class_names == ("a", "b", "c")
    tables.write("csv", test, [*ROWS, {"text": "t", "label": "z", "who": 1}])
    with pytest.raises(DataError, match=r"test.csv: class 'z' of row 8 is in no training row"):
        load(tmp_path, "csv")


def test_labels_that_are_texts_by_mistake_are_questioned(load, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("paribus.data.tables.labels.MAXIMUM_CLASSES", 7)
    path = tables.write("csv", tmp_path / "t.csv", ROWS)
    with pytest.raises(DataError, match=r"8 different values .* Is it the right column"):
        load(path, label="text", text={"columns": "label", "length": 8})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": ["label", "who"]}, "classification has one label; name one column, or set"),
        ({"label": "text"}, "column 'text' is named twice"),
        ({"image": {"size": (4, 4)}}, "data.image.size: the data is texts"),
        ({"transform": {"horizontal_flip": True}}, "data.transform.horizontal_flip: the data is"),
        ({"text": {"columns": ["text", "text"], "length": 8}}, "column 'text' is named twice"),
    ],
)
def test_keys_that_make_no_sense_are_refused(load, tmp_path, changes, message) -> None:
    with pytest.raises(SpecError, match=message):
        load(tables.write("csv", tmp_path / "t.csv", ROWS), **changes)


@pytest.mark.parametrize("source", ["csv", "jsonl", "parquet", "datasets", "text"])
def test_a_path_to_nothing_is_named(load, tmp_path, source) -> None:
    arguments = ("causal_lm",) if source == "text" else ()
    with pytest.raises(DataError, match="there is no such file or folder"):
        load(tmp_path / "nothing", source, arguments=arguments)
    # A named pipe would be waited for forever.
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="there is no such file or folder"):
        load(tmp_path / "pipe", source, arguments=arguments)


def test_a_line_without_end_takes_no_memory(load, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(delimited, "BLOCK_BYTES", 4096)
    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "a" * 100_000 + ",1\n")
    with pytest.raises(DataError, match="a row has more than 4096 bytes; is a quotation mark"):
        load(path)
    path.write_text('text,label\n"' + "a,1\n" * 100_000)
    with pytest.raises(DataError, match=r"without its partner|Expected 2 columns"):
        load(path)
    path.write_text("," * (delimited.MAXIMUM_HEADER + 1))
    with pytest.raises(DataError, match="its first line has more than"):
        load(path)
    monkeypatch.setattr(lines, "MAXIMUM_LINE", 4096)
    path = tmp_path / "t.jsonl"
    path.write_text(JSON + '{"text": "' + "a" * 100_000)
    with pytest.raises(DataError, match="line 3 has more than 4096 bytes"):
        load(path)


def test_a_text_that_is_stored_once_and_repeated_is_counted_first(load, tmp_path) -> None:
    """A file of a few kilobytes promises 2 terabytes; what is read of it is a megabyte."""
    count, large = 2_000_000, "x" * (1 << 20)
    indices = pa.array(np.zeros(count, np.int32))
    text = pa.DictionaryArray.from_arrays(indices, pa.array([large]))
    columns = pa.table({"text": text, "label": indices})
    pq.write_table(columns, tmp_path / "t.parquet", compression="zstd")
    assert (tmp_path / "t.parquet").stat().st_size < 100_000
    with pytest.raises(DataError, match=r"holds texts of \d{11} bytes, too much to read at once"):
        load(tmp_path / "t.parquet")
    tables.saved(tmp_path / "d", [columns[:2]])
    with pa.ipc.new_stream(next((tmp_path / "d").glob("*.arrow")), columns.schema) as stream:
        stream.write_table(columns)
    with pytest.raises(DataError, match="too much to read at once"):
        load(tmp_path / "d", "datasets")


@pytest.mark.parametrize("source", tables.FORMATS)
def test_more_than_can_be_read_is_refused(load, tmp_path, monkeypatch, source) -> None:
    path = tables.write(source, tmp_path / f"t.{source}", ROWS)
    monkeypatch.setattr(table, "MAXIMUM_ROWS", 7)
    with pytest.raises(DataError, match=r"allowed: .*7"):
        load(path, source)
    monkeypatch.undo()
    monkeypatch.setattr(table, "MAXIMUM_BYTES", 20)
    with pytest.raises(DataError, match="too much to read at once"):
        load(path, source)


@pytest.mark.parametrize("source", ["parquet", "datasets"])
def test_texts_that_are_not_utf8_are_found(load, tmp_path, source) -> None:
    text = pa.array([b"ok", b"\xff\xfe"], pa.binary()).view(pa.string())
    columns = pa.table({"text": text, "label": [0, 1]})
    if source == "parquet":
        pq.write_table(columns, tmp_path / "t", use_dictionary=False)
    else:
        tables.saved(tmp_path / "t", [columns])
    with pytest.raises(DataError, match=r"'text': a text.* is not UTF-8"):
        load(tmp_path / "t", source)


@pytest.mark.parametrize("source", ["parquet", "datasets"])
def test_a_file_damaged_anywhere_is_refused_or_read(load, tmp_path, source) -> None:
    path = tables.write(source, tmp_path / "t", ROWS)
    target = path if source == "parquet" else next(path.glob("*.arrow"))
    whole = target.read_bytes()
    for position in range(0, len(whole), 11):
        target.write_bytes(whole[:position])
        with pytest.raises(DataError):
            load(path, source)
        flipped = bytearray(whole)
        flipped[position] ^= 0x81
        target.write_bytes(flipped)
        try:
            load(path, source)
        except DataError:
            continue


def picture(value: int) -> bytes:
    """Return the bytes of a PNG of 5×6 grey pixels."""
    file = io.BytesIO()
    Image.fromarray(np.full((6, 5, 3), value, np.uint8)).save(file, format="PNG")
    return file.getvalue()


def images(folder: Path, rows: list[dict[str, Any]], name: str = "image") -> Path:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {name: pa.array(rows, kind), "label": [i % 2 for i in range(len(rows))]}
    features = {name: {"_type": "Image"}, "label": tables.class_label("cat", "dog")}
    return tables.saved(folder, [pa.table(columns)], features)


def test_a_saved_data_set_of_images_is_one_of_images(load, tmp_path) -> None:
    rows = [{"bytes": picture(20 * i), "path": "/etc/passwd"} for i in range(4)]
    dataset = load(images(tmp_path, rows), "datasets")
    assert dataset.x.shape == (4, 6, 5, 3)
    assert dataset.x[:, 0, 0, 0].tolist() == [0, 20, 40, 60]
    assert dataset.class_names == ("cat", "dog")
    assert dataset.tokens is None
    small = load(tmp_path, "datasets", image={"size": (3, 4), "channels": 1}, limit=2)
    assert small.x.shape == (2, 3, 4, 1)
    numbers = load(tmp_path, "datasets", arguments=("regression",))
    assert numbers.y.tolist() == [[0], [1], [0], [1]]


def test_a_picture_is_its_bytes_and_never_its_path(load, tmp_path) -> None:
    real = tmp_path / "real.png"
    real.write_bytes(picture(9))
    folder = images(tmp_path / "d", [{"bytes": picture(1), "path": None}] * 2)
    load(folder, "datasets")
    images(folder, [{"bytes": picture(1), "path": None}, {"bytes": None, "path": str(real)}])
    with pytest.raises(DataError, match="the image of row 1 is a path and not in the data"):
        load(folder, "datasets")
    images(folder, [{"bytes": picture(1)[:-30], "path": str(real)}] * 2)
    with pytest.raises(DataError, match="image of row 0: cannot be read as an image"):
        load(folder, "datasets")


def test_the_column_of_images_can_be_named(load, tmp_path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    two = [pa.array([{"bytes": picture(v), "path": ""}] * 2, kind) for v in (1, 2)]
    tables.saved(tmp_path, [pa.table({"front": two[0], "back": two[1], "label": [0, 1]})])
    with pytest.raises(DataError, match="several columns of images, 'front', 'back'; name the one"):
        load(tmp_path, "datasets")
    dataset = load(tmp_path, "datasets", text={"columns": "back"})
    assert dataset.x[:, 0, 0, 0].tolist() == [2, 2]
    with pytest.raises(SpecError, match="has labels for its examples, no texts"):
        load(tmp_path, "datasets", text={"columns": "back"}, arguments=("masked_lm",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: (d / "state.json").unlink(), "has no state.json; expected a folder that"),
        (lambda d: (d / "state.json").write_text("["), "state.json: is not JSON"),
        (lambda d: (d / "state.json").write_text("[]"), "state.json: is no JSON object"),
        (lambda d: (d / "state.json").write_text("{}"), "names no data files"),
        (lambda d: (d / "state.json").write_text('{"_data_files": [{"filename": "../x.arrow"}]}'),
         r"names a data file '../x.arrow'; allowed: names of .arrow files"),
        (lambda d: (d / "state.json").write_text('{"_data_files": [{"filename": "/x.arrow"}]}'),
         "names a data file"),
        (lambda d: (d / "state.json").write_text('{"_data_files": [{"filename": "y.arrow"}]}'),
         r"y.arrow: there is no such file, but state.json names it"),
        (lambda d: (d / "state.json").write_text(
            '{"_data_files": [1], "_indices_data_files": [{"filename": "i.arrow"}]}'),
         "is a selection of its rows"),
        (lambda d: (d / "dataset_info.json").write_text(json.dumps(
            {"features": {"label": tables.class_label("a", "a")}})), "are not different texts"),
        (lambda d: (d / "dataset_info.json").write_text(json.dumps(
            {"features": {"label": tables.class_label("a")}})), "has label 1 in rows 1, 3"),
        (lambda d: (d / "dataset_dict.json").write_text('{"splits": ["../d"]}'), "names no splits"),
        (lambda d: (d / "dataset_dict.json").write_text('{"splits": ["train"]}'),
         "there is no such folder, but dataset_dict.json names it"),
    ],
)  # fmt: skip
def test_unusable_saved_data_sets_are_refused(load, tmp_path, change, message) -> None:
    rows = pa.table({"text": ["a", "b"] * 2, "label": [0, 1] * 2})
    tables.saved(tmp_path / "d", [rows])
    change(tmp_path / "d")
    with pytest.raises(DataError, match=message):
        load(tmp_path / "d", "datasets")


def test_an_example_without_label_is_not_a_class(load, tmp_path) -> None:
    rows = pa.table({"text": ["a", "b"], "label": [0, -1]})
    tables.saved(tmp_path, [rows], {"label": tables.class_label("a", "b")})
    with pytest.raises(DataError, match=r"has no label \(−1\) in row 1; allowed: 0 to 1"):
        load(tmp_path, "datasets")


def test_no_link_leads_out_of_a_folder(load, tmp_path) -> None:
    outside = tables.write("csv", tmp_path / "outside.csv", ROWS)
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "train.csv").symlink_to(outside)
    with pytest.raises(DataError, match=r"train.csv: a symbolic link that leads out of"):
        load(inside, "csv")
    folder = tables.write("datasets", tmp_path / "d", ROWS)
    arrow = next(folder.glob("*.arrow"))
    arrow.rename(tmp_path / "moved.arrow")
    arrow.symlink_to(tmp_path / "moved.arrow")
    with pytest.raises(DataError, match="a symbolic link that leads out of"):
        load(folder, "datasets")
    # One that the user named may be a link: it is theirs.
    link = tmp_path / "link.csv"
    link.symlink_to(outside)
    assert len(load(link)) == 8


def test_a_column_never_brings_code(load, tmp_path) -> None:
    """pyarrow before 14.0.1 unpickled an extension type's metadata when it read a schema."""
    marker = tmp_path / "executed"
    pickled = b"cos\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR."
    field = pa.field(
        "text", pa.string(),
        metadata={"ARROW:extension:name": b"arrow.py_extension_type",
                  "ARROW:extension:metadata": pickled},
    )  # fmt: skip
    columns = pa.table(
        [pa.array(["a", "b"]), pa.array([0, 1])], pa.schema([field, pa.field("label", pa.int64())])
    )
    pq.write_table(columns, tmp_path / "t.parquet")
    tables.saved(tmp_path / "d", [columns])
    for path, source in ((tmp_path / "t.parquet", "parquet"), (tmp_path / "d", "datasets")):
        try:
            load(path, source)
        except DataError:
            continue
    assert not marker.exists()


@pytest.mark.parametrize("objective", ["classification", "regression"])
def test_plain_text_has_no_labels(load, tmp_path, objective) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(DataError, match=r"data.source = 'text' has no labels"):
        load(tmp_path / "a.txt", "text", arguments=(objective,))


@pytest.mark.parametrize("objective", ["regression", "masked_lm", "causal_lm"])
def test_sources_of_images_have_classes_alone(tmp_path, objective) -> None:
    (tmp_path / "a").mkdir()
    for section in (Data(), Data(source="image_folder", path=str(tmp_path))):
        with pytest.raises(SpecError, match=f"objective = '{objective}': data.source = .* classes"):
            data.load(section, 0, objective)
