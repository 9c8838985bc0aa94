"""Whatever is wrong with a command, a spec or the machine: one message that helps, no traceback.

Exit code 2 means that the command line, the spec or the data has to change, 1 that the run failed.
"""

from __future__ import annotations

import pytest
from command import Runner, refused
from experiments import Tree, changed, small

SELECT = {"steps": ["select"], "select": {"candidates": [{"name": "mlp"}]}}

SPECS: dict[str, tuple[Tree, tuple[str, ...]]] = {
    "unknown key": ({"finetune__epoch": 3}, ("finetune.epoch = 3", "'finetune.epochs'")),
    "unknown section": ({"finetuen": {}}, ("finetuen", "'finetune'")),
    "wrong type": ({"finetune__epochs": "three"}, ("finetune.epochs = 'three'", "whole number")),
    "out of range": ({"data__split__test": 1.5}, ("data.split.test = 1.5", "allowed")),
    "unknown choice": ({"precision": "float23"}, ("'float23'", "'float32', 'float64'")),
    "unknown architecture": ({"model": {"architecture": "resnet19"}}, ("resnet19", "'resnet18'")),
    "unknown optimizer": ({"finetune__optimizer__name": "adamm"}, ("'adamm'", "'adam'")),
    "a device that is none": ({"device": "gpu"}, ("device = 'gpu'", "cuda")),
    "test set empty": ({"data__split__test": 0.0}, ("data.split.test = 0", "test set empty")),
    "nothing to train on": ({"data__split": {"validation": 0.6, "test": 0.4}}, ("leaves nothing",)),
    "no validation": (
        {"data__split__validation": 0.0},
        ("finetune.keep = 'best'", "keep = 'last'"),
    ),
    "step without section": ({"steps": ["select"]}, ("steps names 'select'", "[select]")),
    "step twice": ({"steps": ["finetune", "finetune"]}, ("named twice",)),
    "finetune not last": (
        {**SELECT, "steps": ["finetune", "select"]},
        ("'finetune' is followed by 'select'",),
    ),
    "one fold": (changed(SELECT, select__folds=1), ("select.folds = 1", "from 2 to")),
    "candidate that changes the data": (
        {
            "steps": ["select"],
            "select": {"candidates": [{"name": "more", "data": {"limit": 9}}]},
        },
        ("data.limit", "stays equal for all candidates"),
    ),
    "search of an unknown key": (
        {"steps": ["optimize"], "optimize": {"search": {"finetune.learning_rat": [1]}}},
        ("finetune.learning_rat", "unknown key"),
    ),
    "shards above batch": ({"finetune__shards": 64}, ("shards = 64 exceeds batch_size = 32",)),
}


@pytest.mark.parametrize(("changes", "words"), SPECS.values(), ids=SPECS)
def test_specs(run: Runner, changes: Tree, words: tuple[str, ...]) -> None:
    spec = run.write(small(**changes))
    # `check` finds what `run` finds, and neither leaves a folder
    for command in (["check", str(spec)], ["run", str(spec), "--out", "out"]):
        refused(run.worker(*command, cwd=run.folder), 2, *words)
    assert not (run.folder / "out").exists()


OVERRIDES = {
    "no value": ("finetune.epochs", "write key=value"),
    "no key": ("=3", "write key=value"),
    "unknown key": ("finetune.epoch=3", "'finetune.epochs'"),
    "not a table": ("seed.x=3", "seed"),
    "wrong type": ("finetune.epochs=[1]", "whole number"),
    "nonsense": ("..=,", "--set ..=,"),
}


@pytest.mark.parametrize(("text", "words"), OVERRIDES.values(), ids=OVERRIDES)
def test_overrides(run: Runner, text: str, words: str) -> None:
    spec = run.write(small())
    refused(run.worker("run", spec, "--set", text, cwd=run.folder), 2, words)


FILES: dict[str, tuple[bytes | None, str, str]] = {
    "missing": (None, "spec.toml", "spec.toml"),
    "binary": (bytes(range(256)), "spec.toml", "spec.toml"),
    "binary yaml": (b"\x00\xff\xfe" * 9, "spec.yaml", "spec.yaml"),
    "broken toml": (b"[finetune\nepochs = 3", "spec.toml", "line 1"),
    "broken json": (b'{"seed": 1,}', "spec.json", "line 1"),
    "broken yaml": (b"seed: [1", "spec.yaml", "line"),
    "not a table": (b"[1, 2]", "spec.json", "table"),
    "other ending": (b"seed = 1", "spec.ini", ".toml"),
}


@pytest.mark.parametrize(("content", "name", "words"), FILES.values(), ids=FILES)
def test_spec_files(run: Runner, content: bytes | None, name: str, words: str) -> None:
    path = run.folder / name
    if content is not None:
        path.write_bytes(content)
    refused(run.worker("run", path, cwd=run.folder), 2, words)


def test_a_folder_is_no_spec(run: Runner) -> None:
    refused(run.worker("run", run.folder, cwd=run.folder), 2, str(run.folder))


COMMANDS: dict[str, tuple[list[str], int, tuple[str, ...]]] = {
    "unknown command": (["rum"], 2, ("rum",)),
    "unknown option": (["run", "SPEC", "--outt", "x"], 2, ("--outt",)),
    "no spec": (["run"], 2, ("SPEC",)),
    "near miss": (["run", "SPEC", "--backend", "torhc"], 2, ("'torhc'", "Did you mean 'torch'")),
    "other device": (["run", "SPEC", "--device", "cuda:63"], 1, ("'cuda:63'", "available: auto,")),
    "no such device": (["run", "SPEC", "--device", "mps"], 1, ("'mps'", "cpu")),
    "device nonsense": (["run", "SPEC", "--device", "quantum"], 1, ("'quantum'", "cpu")),
    "one backend": (["compare", "SPEC", "--backends", "torch"], 1, ("at least two", "torch")),
    "twice": (["compare", "SPEC", "--backends", "torch,torch"], 1, ("at least two", "torch")),
    "unknown backend": (["compare", "SPEC", "--backends", "torch,jaxx"], 2, ("'jaxx'",)),
}


@pytest.mark.parametrize(("arguments", "code", "words"), COMMANDS.values(), ids=COMMANDS)
def test_commands(run: Runner, arguments: list[str], code: int, words: tuple[str, ...]) -> None:
    spec = str(run.write(small()))
    arguments = [spec if word == "SPEC" else word for word in arguments]
    refused(run.worker(*arguments, cwd=run.folder), code, *words)
    assert not (run.folder / "runs").exists()


def test_the_run_folder_cannot_be_made(run: Runner) -> None:
    (run.folder / "file").write_text("in the way")
    spec = run.write(small())
    for out in ("file", "file/below", "/proc/paribus"):
        done = run.worker("run", spec, "--out", out, cwd=run.folder)
        refused(done, 1, f"the run folder {out} cannot be written", "--out")
    assert (run.folder / "file").read_text() == "in the way"
    (run.folder / "runs").write_text("in the way")
    refused(run.worker("run", spec, cwd=run.folder), 1, "cannot be written")
    done = run.worker("compare", spec, "--backends", "torch,huggingface", cwd=run.folder)
    refused(done, 1, "runs cannot be written")


def test_a_run_is_not_replaced_by_one_that_starts_from_it(run: Runner) -> None:
    first = run(small())
    before = {path.name: path.read_bytes() for path in first.folder.iterdir()}
    for source in ("out", "out/weights.safetensors"):
        failed = run.attempt(small(finetune__weights=source), "--overwrite")
        refused(failed.done, 2, f"finetune.weights = '{run.folder / source}'", "--out")
        assert {path.name: path.read_bytes() for path in first.folder.iterdir()} == before
