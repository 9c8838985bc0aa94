"""Languages on every backend: is more learned than counting words, and is it the same?

    python examples/prepare/kjv.py kjv.txt
    python benchmarks/languages.py --text kjv.txt            a quarter of an hour a backend
    python benchmarks/languages.py --text kjv.txt --steps    the first 20 steps in float64 only

Of examples/bert_kjv.toml and examples/gpt2_kjv.toml it prints, as Markdown tables, the loss on the
test blocks beside the unigram entropy of the same tokens (what a model that knows how often each
token occurs there, and nothing else, cannot get below), and the largest relative difference of the
losses of 20 optimizer steps in float64 from those of the first backend.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import paribus
from paribus import data
from paribus.comparing import compare
from paribus.spec import Spec

EXAMPLES = Path(__file__).parents[1] / "examples"
SPECS = ("bert_kjv", "gpt2_kjv")


def entropy(spec: Spec) -> float:
    """Return the entropy of the test blocks' tokens, special ones left out; natural logarithm."""
    dataset = data.load(spec.data, spec.seed, spec.pretrain.objective)
    test = data.split(dataset, spec.data.split, spec.seed).test
    assert dataset.tokens is not None
    counts = np.bincount(dataset.x[test].ravel(), minlength=dataset.tokens.vocabulary)
    counts[list(dataset.tokens.special)] = 0
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def learned(text: str, backends: list[str], out: Path) -> None:
    """Run both examples on every backend and print the losses beside the entropies."""
    print("| loss on the test blocks | unigram entropy |", " | ".join(backends), "|")
    print("|---|---|" + "---|" * len(backends))
    for name in SPECS:
        spec = paribus.load(EXAMPLES / f"{name}.toml", [f"data.path={text}"])
        found = compare(spec, backends, device="cpu", out=out / name).results
        tests = [found[backend].test or {} for backend in backends]
        cells = [f"{t['loss']:.4f} (accuracy {t['accuracy']:.4f})" for t in tests]
        print(f"| {name} | {entropy(spec):.4f} |", " | ".join(cells), "|", flush=True)


def equal(text: str, backends: list[str], out: Path) -> None:
    """Run 20 optimizer steps in float64 on every backend and print how far they are apart."""
    first, *others = backends
    print(f"| 20 steps in float64, largest relative difference from {first} |",
          " | ".join(others), "|\n|---|" + "---|" * len(others))  # fmt: skip
    for name in SPECS:
        spec = paribus.load(EXAMPLES / f"{name}.toml", [
            f"data.path={text}", "precision=float64", "pretrain.epochs=1", "data.limit=712",
            "pretrain.batch_size=32",
            "pretrain.schedule={name='constant'}", "evaluate_test=false",
        ])  # fmt: skip
        found = compare(spec, backends, device="cpu", out=out / f"{name}-steps").differences
        assert all(found[other]["steps_compared"] == 20 for other in others), found
        cells = [f"{found[other]['largest_loss_difference']:.1e}" for other in others]
        print(f"| {name} |", " | ".join(cells), "|", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--text", required=True)
    parser.add_argument("--backends", default="torch,tensorflow,huggingface")
    parser.add_argument("--steps", action="store_true", help="only the first 20 steps")
    given = parser.parse_args()
    backends = given.backends.split(",")
    with tempfile.TemporaryDirectory() as folder:
        equal(given.text, backends, Path(folder))
        if not given.steps:
            learned(given.text, backends, Path(folder))


if __name__ == "__main__":
    main()
