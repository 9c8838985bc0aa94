"""Do the backends train alike? ``paribus verify`` on six models with every optimizer.

    python benchmarks/verify.py                                  everything, in float64
    python benchmarks/verify.py --models vit,gpt2 --optimizers adamw,rmsprop --steps 10
    python benchmarks/verify.py --precision float32 --backends torch,tensorflow

Prints a Markdown table, a line per model and optimizer as soon as it is known: the largest relative
difference of a loss over the steps, and of a weight after them, with PASS, FAIL or ABSTAIN of all
quantities together. Small images and batches; the data are drawn, the weights too. Gradient descent
sums all examples in every step, so that it sees the first 64 of the images only: four batches.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import paribus
from paribus import draws
from paribus.verifying import Verification
from paribus.verifying.party import Party
from paribus.verifying.subject import subject_of
from paribus.verifying.verification import verify_parties

EXAMPLES, FEW, BATCH, SIZE, SEED = 256, 64, 16, 32, 1
TEXTS, LENGTH = 160, 32
VIT = {"architecture": "vit", "patch": 8, "layers": 4, "heads": 4, "hidden": 64, "mlp": 128}
TOKENS = {"layers": 4, "heads": 4, "hidden": 64, "intermediate": 128, "positions": LENGTH}
IMAGES = {
    "resnet18": {"architecture": "resnet18"},
    "vgg11_bn": {"architecture": "vgg11_bn", "hidden": 256},
    "mobilenet_v2": {"architecture": "mobilenet_v2"},
    "vit": VIT,
}
LANGUAGES = {
    "bert": ({"architecture": "bert", **TOKENS}, "masked_lm", {"vocabulary": 400}),
    "gpt2": ({"architecture": "gpt2", **TOKENS}, "causal_lm", {"kind": "bpe", "vocabulary": 400}),
}
MODELS = (*IMAGES, *LANGUAGES)
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "gradient_descent": {"name": "gradient_descent", "learning_rate": 0.05},
    "sgd": {"name": "sgd", "learning_rate": 0.02, "weight_decay": 1e-4},
    "momentum": {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9, "weight_decay": 1e-4},
    "nesterov": {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9, "nesterov": True},
    "adam": {"name": "adam", "learning_rate": 1e-3, "weight_decay": 1e-4},
    "adamw": {"name": "adamw", "learning_rate": 1e-3},
    "rmsprop": {"name": "rmsprop", "learning_rate": 3e-4},
    "rmsprop_momentum": {"name": "rmsprop", "learning_rate": 1e-4, "momentum": 0.9},
}
# A drawn MobileNetV2 has a gradient of norm 200 in its first step: with the rates above it is so
# unstable that weights that differ by 1e-15 have losses 1e-2 apart after ten steps, on one backend.
# So its gradients are clipped, and the rules that a gradient's size does not matter to are slower.
CLIPPED = {"mobilenet_v2": 0.1}
SLOWER = {"mobilenet_v2": {"adam": 0.1, "adamw": 0.1, "rmsprop": 0.1, "rmsprop_momentum": 0.03}}


def write_data(folder: Path) -> None:
    """Write images.npz and few.npz, ten classes with noise, and texts.csv, drawn words."""
    labels = np.arange(EXAMPLES, dtype=np.int64) % 10
    patterns = draws.normal(SEED, "patterns", 0, (10, 8, 8, 3))
    coarse = 0.7 * patterns[labels] + 0.5 * draws.normal(SEED, "noise", 0, (EXAMPLES, 8, 8, 3))
    fine = np.kron(coarse, np.ones((1, SIZE // 8, SIZE // 8, 1)))
    images = np.clip(128 + 50 * fine, 0, 255).astype(np.uint8)
    np.savez(folder / "images.npz", x=images, y=labels)
    np.savez(folder / "few.npz", x=images[:FEW], y=labels[:FEW])
    words = ["".join(chr(97 + letter) for letter in row)
             for row in draws.integers(SEED, "words", 0, (150, 5), 26)]  # fmt: skip
    with (folder / "texts.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "kind"])
        for number, row in enumerate(draws.integers(SEED, "texts", 0, (TEXTS, 40), len(words))):
            table.writerow([" ".join(words[word] for word in row), "ab"[number % 2]])


def optimizer_of(model: str, optimizer: str) -> dict[str, Any]:
    """Return an optimizer's section for a model."""
    found = dict(OPTIMIZERS[optimizer])
    found["learning_rate"] *= SLOWER.get(model, {}).get(optimizer, 1.0)
    return found


def spec_of(model: str, optimizer: str, steps: int, folder: Path) -> paribus.Spec:
    """Return the experiment of a model and an optimizer, long enough for ``steps`` steps."""
    tree: dict[str, Any] = {"name": model, "seed": SEED}
    recipe = {
        "batch_size": BATCH,
        "epochs": steps if optimizer == "gradient_descent" else -(-steps // 6),
        "optimizer": optimizer_of(model, optimizer),
        "schedule": {"name": "cosine", "warmup_epochs": 0.5},
    }
    if model in CLIPPED:
        recipe["clip_norm"] = CLIPPED[model]
    if model in IMAGES:
        file = "few.npz" if optimizer == "gradient_descent" else "images.npz"
        tree["data"] = {"source": "npz", "path": str(folder / file)}
        tree |= {"model": IMAGES[model], "finetune": recipe}
    else:
        section, objective, tokenizer = LANGUAGES[model]
        tree["data"] = {"source": "csv", "path": str(folder / "texts.csv"), "label": "kind",
                        "text": {"length": LENGTH}, "tokenizer": tokenizer}  # fmt: skip
        recipe["objective"] = objective
        tree |= {"model": section, "steps": ["pretrain"], "pretrain": recipe}
    path = folder / "spec.json"
    path.write_text(json.dumps(tree))
    return paribus.load(path)


def cells(found: Verification, backend: str) -> str:
    """Return a backend's cell: the largest differences, and the worst verdict."""
    rows = {check.quantity: check for check in found.checks if check.backend == backend}
    verdicts = [check.verdict for check in rows.values()]
    verdict = "FAIL" if "FAIL" in verdicts else "PASS" if "PASS" in verdicts else "ABSTAIN"
    losses, weights = (_power(rows[name].value) for name in ("losses", "weights"))
    tolerance = "" if found.precision == "float64" else f" of {_power(rows['losses'].tolerance)}"
    drowned = rows["losses"].reason
    return f"{losses}{tolerance}, {weights} {verdict}" + (f" ({drowned})" if drowned else "")


def _power(value: float | None) -> str:
    return "–" if value is None else f"{value:.1e}"


def chosen(names: str, of: Mapping[str, Any] | tuple[str, ...]) -> list[str]:
    """Return the names that were asked for.

    Raises:
        SystemExit: one of them is unknown.
    """
    found = [name for name in names.split(",") if name] or list(of)
    unknown = [name for name in found if name not in of]
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; allowed: {', '.join(of)}")
    return found


def say(message: str) -> None:
    """Say on the way what is being done, beside the table."""
    print(message, file=sys.stderr, flush=True)


def main() -> None:
    """Run what was asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--backends", default="torch,tensorflow,huggingface,jax")
    parser.add_argument("--models", default="", help=", ".join(MODELS))
    parser.add_argument("--optimizers", default="", help=", ".join(OPTIMIZERS))
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--precision", default="float64")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    models, optimizers = chosen(arguments.models, MODELS), chosen(arguments.optimizers, OPTIMIZERS)
    names = arguments.backends.split(",")
    print(f"| {arguments.precision}, {arguments.steps} steps: loss, weights |",
          " | ".join(names[1:]), "| seconds |")  # fmt: skip
    print("|---" * (len(names) + 1) + "|", flush=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_data(folder)
        parties = [stack.enter_context(Party(name, arguments.device, "strict")) for name in names]
        for model in models:
            for optimizer in optimizers:
                began = time.perf_counter()
                spec = spec_of(model, optimizer, arguments.steps, folder)
                subject = subject_of(spec, None, arguments.steps).rounded(arguments.precision)
                found = verify_parties(model, subject, parties, arguments.precision, say)
                shown = " | ".join(cells(found, name) for name in names[1:])
                seconds = time.perf_counter() - began
                print(f"| {model}, {optimizer} | {shown} | {seconds:.0f} |", flush=True)
                for divergence in found.divergences:
                    print(f"<!-- {divergence.as_dict()} -->", flush=True)


if __name__ == "__main__":
    main()
