"""Fine-tuned MiniLM against TF-IDF with a linear SVM, on the same rows of BBC News.

    python examples/prepare/bbc.py bbc.csv
    python benchmarks/bbc.py --csv bbc.csv --checkpoint FOLDER [--backends torch,tensorflow]

The spec is examples/bbc.toml: 50 texts train, 50 choose the epoch, the rest is the test. The SVM
gets the same 50 texts, and the same 50 to choose its C by; in a second row it gets all 100 to train
on. The share of test texts that are right is printed as a Markdown table.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

import paribus
from paribus import data
from paribus.comparing import compare
from paribus.spec import Spec

SPEC = Path(__file__).parents[1] / "examples" / "bbc.toml"
STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


def svm(spec: Spec) -> dict[str, tuple[float, str]]:
    """Return the SVM's test accuracy and its C, trained on 50 and on 100 texts."""
    dataset = data.load(spec.data, spec.seed)
    split = data.split(dataset, spec.data.split, spec.seed)
    with open(str(spec.data.path), encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    assert dataset.source_rows is not None
    chosen = np.array([texts[row] for row in dataset.source_rows], dtype=object)

    def accuracy(train: np.ndarray, judged: np.ndarray, strength: float) -> float:
        words = TfidfVectorizer(sublinear_tf=True, stop_words="english")
        model = LinearSVC(C=strength).fit(words.fit_transform(chosen[train]), dataset.y[train])
        found = model.predict(words.transform(chosen[judged]))
        return float((found == dataset.y[judged]).mean())

    best = max(STRENGTHS, key=lambda c: accuracy(split.train, split.validation, c))
    both = np.concatenate((split.train, split.validation))
    return {
        f"TF-IDF + linear SVM, {len(split.train)} texts": (
            accuracy(split.train, split.test, best), f"C = {best:g}",
        ),
        f"TF-IDF + linear SVM, {len(both)} texts": (
            accuracy(both, split.test, best), f"C = {best:g}",
        ),
    }  # fmt: skip


def main() -> None:
    """Run both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--csv", required=True)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--backends", default="torch,tensorflow,huggingface")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    spec = paribus.load(SPEC, [
        f"data.path={given.csv}", f"checkpoint={given.checkpoint}", f"seed={given.seed}",
    ])  # fmt: skip
    rows = svm(spec)
    with tempfile.TemporaryDirectory() as folder:
        found = compare(spec, given.backends.split(","), device="cpu", out=Path(folder) / "runs")
        for name, result in found.results.items():
            assert result.test is not None
            seconds = f"{result.metrics['seconds']:.0f} s"
            rows[f"MiniLM fine-tuned, {name}"] = (result.test["accuracy"], seconds)
            examples = result.test["examples"]
    print(f"| accuracy on {examples} test texts | | |\n|---|---|---|")
    for name, (accuracy, note) in rows.items():
        print(f"| {name} | {accuracy:.4f} | {note} |")


if __name__ == "__main__":
    main()
