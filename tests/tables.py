"""Tables of texts written in every format that is read, and a tokenizer that hides nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

FORMATS = ("csv", "jsonl", "parquet", "datasets")
Rows = Sequence[Mapping[str, Any]]


def write(source: str, path: Path, rows: Rows, **options: Any) -> Path:
    """Write rows in the format of a source; the path is the file, or for datasets the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if source == "csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), **options)
            writer.writeheader()
            writer.writerows(rows)
    elif source == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif source == "parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path, **options)
    else:
        saved(path, [pa.Table.from_pylist(list(rows))], **options)
    return path


def saved(
    folder: Path, tables: Sequence[pa.Table], features: Mapping[str, Any] | None = None
) -> Path:
    """Write what ``datasets.save_to_disk`` writes, a file for each table."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data-{i:05}-of-{len(tables):05}.arrow" for i in range(len(tables))]
    for name, table in zip(names, tables, strict=True):
        with pa.ipc.new_stream(folder / name, table.schema) as stream:
            stream.write_table(table, max_chunksize=3)
    state = {"_data_files": [{"filename": name} for name in names], "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features or {}}))
    return folder


def class_label(*names: str) -> dict[str, Any]:
    """Return how ``datasets`` describes a column of classes."""
    return {"_type": "ClassLabel", "names": list(names)}


def letters(path: Path) -> Path:
    """Write a tokenizer without merges: a token for each byte, so that any text comes back."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<|endoftext|>", *alphabet])}
    rust = Tokenizer(models.BPE(vocabulary, []))
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    rust.decoder = decoders.ByteLevel()
    rust.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B:1")
    rust.add_special_tokens(["<|endoftext|>"])
    path.write_text(rust.to_str(), encoding="utf-8")
    return path
