"""How much faster a frozen body makes training: ResNet-50, a new layer of ten classes.

    python benchmarks/frozen.py                        # 10 and 30 epochs, 5 folds × 3 rates, layer4
    python benchmarks/frozen.py --images 256 --rounds 1

The rival is the loop that people write: torchvision's model in evaluation mode, ``requires_grad``
off below the new layer, tensors in memory, one step after the other; the same weights, images,
batch size and optimizer. Its epochs cost the same, so one is timed and multiplied by how many there
would be; both sides are timed in turns in one process, after imports, and the median counts. Ours
is a whole ``paribus.run`` with an empty cache, run folder and all.

The limit of a figure is the epochs that it replaces: 10 for ten epochs, since one pass is left.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import paribus
from paribus import architectures, weights

SIZE, CLASSES, BATCH = 96, 10, 32
RATES = (0.003, 0.01, 0.03)
OPTIMIZER = {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9}


@dataclass(frozen=True)
class Case:
    """One figure: what is trained, and how many of the rival's epochs that is.

    Attributes:
        epochs: of each training.
        folds, rates: trainings; each fold trains on (folds − 1) / folds of the images.
        freeze: as in a spec.
        wanted: the ratio that is aimed at.
    """

    name: str
    epochs: int
    wanted: float
    freeze: str = "body"
    folds: int = 0
    rates: tuple[float, ...] = (0.01,)

    @property
    def passes(self) -> float:
        """The rival's epochs over all images.

        A fold leaves out its share of them, and is judged on it once, at the end: a forward pass,
        which costs nearly what a step does. (Ours judges after every epoch.)
        """
        if not self.folds:
            return self.epochs
        share = 1 / self.folds
        return len(self.rates) * self.folds * (self.epochs * (1 - share) + share)


CASES = (
    Case("10 epochs", 10, 9.5),
    Case("30 epochs", 30, 28.0),
    Case("5 folds × 3 rates × 10 epochs", 10, 115.0, folds=5, rates=RATES),
    Case("last stage free, 10 epochs", 10, 2.5, freeze="layer4"),
)


def prepare(folder: Path, images: int, architecture: str = "resnet50") -> None:
    """Write ``images.npz`` and ``weights.safetensors``, the body that both sides start from."""
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (images, SIZE, SIZE, 3), dtype=np.uint8)
    y = np.arange(images) % CLASSES
    np.savez(folder / "images.npz", x=x, y=y)
    network = architectures.build(architecture, {}, (3, SIZE, SIZE), CLASSES)
    drawn = {n: a.astype(np.float32) for n, a in weights.draw(network, 0).items()}
    weights.save(folder / "weights.safetensors", drawn, {})


def spec(folder: Path, case: Case, architecture: str = "resnet50") -> dict[str, Any]:
    """Return a case as an experiment."""
    recipe = {"weights": str(folder / "weights.safetensors"), "freeze": case.freeze,
              "epochs": case.epochs, "batch_size": BATCH, "keep": "last",
              "optimizer": OPTIMIZER}  # fmt: skip
    tree: dict[str, Any] = {
        "name": "frozen",
        "steps": ["finetune"],
        "evaluate_test": False,
        "data": {"source": "npz", "path": str(folder / "images.npz"),
                 "split": {"validation": 0.0, "test": 0.0}},
        "model": {"architecture": architecture},
        "finetune": recipe,
        "checkpoints": {"minutes": 0.0},
    }  # fmt: skip
    if case.folds:
        tree["steps"] = ["select"]
        tree["select"] = {
            "folds": case.folds,
            "candidates": [
                {"name": f"rate{number}", "finetune": {"optimizer": {**OPTIMIZER,
                                                                      "learning_rate": rate}}}
                for number, rate in enumerate(case.rates)
            ],
        }  # fmt: skip
    return tree


def ours(
    folder: Path, case: Case, architecture: str = "resnet50", device: str = "cpu", **settings: Any
) -> None:
    """Run a case from an empty cache."""
    cache, out = folder / "cache", folder / "out"
    shutil.rmtree(cache, ignore_errors=True)
    tree = {**spec(folder, case, architecture), "cache": {"directory": str(cache)}, **settings}
    path = folder / "spec.json"
    path.write_text(json.dumps(tree), encoding="utf-8")
    paribus.run(paribus.load(path), backend="torch", device=device, out=out, overwrite=True)


class Rival:
    """The hand-written loop, one epoch at a time."""

    def __init__(self, folder: Path, freeze: str, architecture: str, device: str) -> None:
        import torch
        from torchvision.models import get_model

        stored = np.load(folder / "images.npz")
        x = torch.from_numpy(stored["x"]).permute(0, 3, 1, 2).float().div_(255).contiguous()
        x, y = x.to(device), torch.from_numpy(stored["y"]).to(device)
        model = get_model(architecture, weights=None, num_classes=CLASSES)
        given = weights.load(folder / "weights.safetensors")
        state = {name: torch.from_numpy(np.array(array)) for name, array in given.items()}
        model.load_state_dict(state, strict=False)
        model.eval().requires_grad_(False).to(device)
        free = [model.fc] if freeze == "body" else [getattr(model, freeze), model.fc]
        for part in free:
            part.requires_grad_(True).train()
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9)
        loss = torch.nn.CrossEntropyLoss()
        order = np.random.default_rng(1)

        def epoch() -> None:
            rows = torch.from_numpy(order.permutation(len(x))).to(device)
            for batch in rows.split(BATCH):
                optimizer.zero_grad()
                loss(model(x[batch]), y[batch]).backward()
                optimizer.step()
            if device != "cpu":
                torch.cuda.synchronize()

        self.epoch: Callable[[], None] = epoch


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Return wall and processor seconds of some work."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(
    folder: Path,
    case: Case,
    rounds: int,
    architecture: str = "resnet50",
    device: str = "cpu",
    **settings: Any,
) -> dict[str, Any]:
    """Time a case against the rival's epochs, in turns; return medians and the ratios of both."""
    rival = Rival(folder, case.freeze, architecture, device)
    rival.epoch()
    with tempfile.TemporaryDirectory() as name:  # what a first run imports
        prepare(Path(name), 2 * BATCH, "resnet18")
        ours(Path(name), Case("warm", 1, 0.0), "resnet18", device, **settings)
    epochs, runs = [], []
    for _ in range(rounds):
        epochs.append(timed(rival.epoch))
        runs.append(timed(lambda: ours(folder, case, architecture, device, **settings)))
        epochs.append(timed(rival.epoch))
    epoch, run = ([statistics.median(part) for part in zip(*found, strict=True)]
                  for found in (epochs, runs))  # fmt: skip
    return {
        "case": case.name,
        "rival_epoch": epoch,
        "ours": run,
        "ratio": [case.passes * e / r for e, r in zip(epoch, run, strict=True)],
        "wanted": case.wanted,
    }


def main() -> None:
    """Print a row for each case: seconds and ratio by the wall clock and by processor time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--architecture", default="resnet50")
    parser.add_argument("--numerics", default="strict", choices=("strict", "fast"))
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--only", type=int, help="the number of one case, from 0")
    given = parser.parse_args()
    cases = CASES if given.only is None else CASES[given.only : given.only + 1]
    print("| work | rival, s an epoch | ours, s | times as fast | by processor time | wanted |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, given.images, given.architecture)
        for case in cases:
            found = measure(
                folder, case, given.rounds, given.architecture, given.device,
                numerics=given.numerics,
            )  # fmt: skip
            (epoch, _), (run, _), (wall, cpu) = (
                found[key] for key in ("rival_epoch", "ours", "ratio")
            )
            print(
                f"| {case.name} | {epoch:.2f} | {run:.2f} | {wall:.1f} | {cpu:.1f} | "
                f"{case.wanted:g} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
