"""What files say is shown, and not obeyed: by a terminal, by rich's markup, by whoever reads it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from command import Worker, process, refused
from safetensors.numpy import save_file

from paribus.predicting import Guess, Prediction
from paribus.report.plain import plain, plain_json
from paribus.report.predictions import show_predictions

# Clears the screen, changes the title, asks the terminal to type its name, hides what follows.
SEQUENCES = "\x1b[2J\x1b]0;owned\x07\x9b5n\x1b[8m\r\x7f"
UNSEEN = set(SEQUENCES) - set("[2J]0;owned5n8m")


def test_what_a_terminal_obeys_is_written_out() -> None:
    assert plain("a\x1b[2J\u202eb\x9b\ud8ff") == r"a\x1b[2J\u202eb\x9b\ud8ff"
    kept = "one\ttwo\nthree é 漢字 🐈 [/b] \\x1b"
    assert plain(kept) == kept
    value = {"a": SEQUENCES + "\u202e\udcff"}
    shown = plain_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(shown) == value
    assert not UNSEEN & set(shown)


def test_names_of_tensors_are_shown_and_not_obeyed(tmp_path: Path, worker: Worker) -> None:
    file = tmp_path / "model.safetensors"
    save_file({f"{SEQUENCES}fc.weight": np.ones(2, np.int32)}, file)
    done = worker(
        "predict", "--architecture", "resnet18", "--weights", file, tmp_path / "x.png",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 2
    (tmp_path / "x.png").write_bytes(b"\x89PNG")
    (tmp_path / "spec.json").write_text(
        json.dumps({"finetune": {"weights": str(file)}, "model": "mlp"})
    )
    done = worker("run", "spec.json", cwd=tmp_path)
    refused(done, 2, r"\x1b[2J\x1b]0;owned\x07", "fc.weight")
    assert not UNSEEN & set(done.err)


def test_keys_of_a_spec_are_shown_and_not_obeyed(tmp_path: Path, worker: Worker) -> None:
    (tmp_path / "spec.json").write_text(json.dumps({SEQUENCES: 1, "data": {"source": SEQUENCES}}))
    done = worker("check", "spec.json", cwd=tmp_path)
    refused(done, 2)
    assert not UNSEEN & set(done.err)


def test_a_key_of_a_megabyte_is_cut_short(tmp_path: Path, worker: Worker) -> None:
    (tmp_path / "spec.json").write_text(json.dumps({"k" * 1_000_000: 1}))
    done = worker("check", "spec.json", cwd=tmp_path)
    refused(done, 2, "characters more")
    assert len(done.err) < 20_000


def test_a_name_that_is_no_text_can_be_talked_about(tmp_path: Path) -> None:
    """A file's name is bytes; those that are no UTF-8 are in no message as they are."""
    name = os.fsdecode(b"caf\xe9.toml")
    (tmp_path / name).write_text("seed = 'x'")
    done = process("check", name, cwd=tmp_path)
    refused(done, 2, r"caf\udce9.toml")
    (tmp_path / name).write_text("")
    done = process("check", name, cwd=tmp_path)
    assert (done.code, done.out.split(":")[0]) == (0, r"caf\udce9.toml")


def test_names_of_classes_are_neither_markup_nor_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    label = f"[/bold][link=x]{SEQUENCES}"
    show_predictions([Prediction(f"{SEQUENCES}.png", (Guess(0, label, 0.5),))])
    shown = capsys.readouterr().out
    assert "[/bold][link=x]" in shown
    assert not UNSEEN & set(shown)
