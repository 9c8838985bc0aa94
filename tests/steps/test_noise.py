"""Whole runs that drop values: equal on every backend, repeatable, and stated in the run folder."""

from __future__ import annotations

import tomllib

import pytest
from command import Run, Runner, process
from experiments import small

MODEL = {"architecture": "mlp", "hidden": [8, 6], "dropout": 0.2}


def test_a_run_that_drops_is_the_same_on_every_backend(run: Runner) -> None:
    tree = small(model=MODEL)
    first, again = (run(tree, out=name).losses() for name in ("first", "again"))
    assert first == again
    # A process of its own: the runner's has PyTorch in it.
    options = ("--backend", "tensorflow", "--out", "other")
    done = process("run", run.write(tree), *options, cwd=run.folder)
    assert done.code == 0, done.err
    assert Run(run.folder / "other", done).losses() == pytest.approx(first, rel=1e-9)
    whole = run(tree, "--set", "model.dropout=0.0", out="whole").losses()
    assert whole[0] != pytest.approx(first[0], rel=1e-3)


def test_a_framework_s_own_generator_may_drop_in_fast_numerics(run: Runner) -> None:
    done = run(small(model=MODEL, numerics="fast", dropout_masks="native"), out="native")
    stated = tomllib.loads((done.folder / "spec.toml").read_text())
    assert stated["dropout_masks"] == "native"
    assert stated["model"]["dropout"] == 0.2
    portable = run(small(model=MODEL, numerics="fast"), out="portable")
    assert done.losses()[0] != portable.losses()[0]
