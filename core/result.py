"""What a run leaves, for use from Python: numbers, predictions, and the framework's own model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus import architectures, registry, runfolder, weights
from paribus.adapter import Session, Task
from paribus.closing import Closing
from paribus.data import Dataset, Streamed, pictures
from paribus.data.streamed import Examples
from paribus.errors import DataError, RunError
from paribus.feeding import Feed
from paribus.machine import Machine
from paribus.plan import Preprocess, evaluation_plan
from paribus.predicting import Prediction, predict, softmax
from paribus.steps.experiment import Model

PREDICTION_BATCH = 256


class Result(Closing):
    """A finished run, read from its folder.

    ``predict`` and ``native`` open the run's model on first use, on the backend and device that
    the run used; ``close`` (or leaving a ``with`` block) frees it.
    """

    def __init__(
        self, folder: str | Path, *, backend: str | None = None, device: str | None = None
    ) -> None:
        """Read the run in ``folder``.

        Args:
            folder: a run folder.
            backend, device: to open the model on, instead of the run's own; or ``auto``.

        Raises:
            RunFolderError: it is not a run folder.
        """
        self.folder = Path(folder)
        self.metrics: dict[str, Any] = runfolder.read_result(self.folder)
        self._backend = backend or str(self.metrics["backend"])
        self._device = device or ("auto" if backend else str(self.metrics["device"]))
        self._session: Session | None = None

    def __repr__(self) -> str:
        return f"Result({str(self.folder)!r}, status={self.metrics.get('status')!r})"

    @property
    def test(self) -> dict[str, Any] | None:
        """``loss``, ``accuracy`` and ``examples`` of the test, or None where none was asked for."""
        return self.metrics.get("test")

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """The rows of ``metrics.jsonl``."""
        return runfolder.read_metrics(self.folder)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return tuple(self._model["class_names"])

    def logits(self, x: npt.ArrayLike | Streamed) -> npt.NDArray[np.float64]:
        """Return the model's outputs for stored examples; float64 [N, classes].

        Args:
            x: examples as ``data.source`` and ``data.image`` leave them, before any transform:
                images [N, H, W, channels] (or [N, H, W] with one channel), in the source's own
                units, already resized; tables [N, features]. ``Streamed`` examples, as
                ``paribus.data.load`` returns them, are read a bounded number at a time.

        Raises:
            DataError: the shape does not fit.
            RunError: the run trained no model.
        """
        examples = self._examples(x)
        session = self._open()
        plan = evaluation_plan(
            np.arange(len(examples), dtype=np.int64), PREDICTION_BATCH, self._preprocess
        )
        return np.asarray(Feed(session, examples, None).predict(plan), dtype=np.float64)

    def predict_proba(self, x: npt.ArrayLike | Streamed) -> npt.NDArray[np.float64]:
        """Return softmax probabilities; float64 [N, classes]. See ``logits``."""
        return softmax(self.logits(x))

    def predict(self, x: npt.ArrayLike | Streamed) -> npt.NDArray[np.int64]:
        """Return the most probable labels; int64 [N]. See ``logits``."""
        return np.asarray(self.logits(x).argmax(axis=1), dtype=np.int64)

    def predict_files(
        self, paths: Sequence[str | Path], *, top: int = 5, labels: Sequence[str] | None = None
    ) -> list[Prediction]:
        """Return the ``top`` most probable classes of each image file.

        Files are decoded as ``data.image_folder`` does, resized to the size that the run's
        examples have, and scaled so that white is the data's own largest value.

        Args:
            paths: image files.
            top: how many classes to keep, at most.
            labels: names by class number, instead of the run's.

        Raises:
            DataError: a file is not an image, the run's examples are tables, or there are not as
                many labels as classes.
            RunError: the run trained no model.
        """
        names = self.class_names if labels is None else labels
        return predict([Path(path) for path in paths], self._pictures, self.logits, names, top)

    def native(self) -> Any:
        """Return the framework's own object with the trained weights, to keep working with."""
        return self._open().native()

    def save_native(self, folder: str | Path) -> Path:
        """Write what the framework's users expect into ``folder``; return the path written."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        return self._open().save_native(target)

    def close(self) -> None:
        """Free the opened model."""
        if self._session is not None:
            self._session.close()
            self._session = None

    @property
    def _model(self) -> dict[str, Any]:
        model = self.metrics.get("model")
        if not isinstance(model, dict):
            raise RunError(
                f"{self.folder} has no model (status {self.metrics.get('status')!r}); add a "
                "pretrain or finetune step to the spec"
            )
        return model

    @property
    def _preprocess(self) -> Preprocess:
        stored = self._model["preprocess"]
        crop = stored["crop"]
        return Preprocess(
            tuple(stored["scale"]), tuple(stored["shift"]), None if crop is None else tuple(crop)
        )

    def _examples(self, given: npt.ArrayLike | Streamed) -> Examples:
        stored = tuple(self._model["stored_shape"])
        if isinstance(given, Streamed):
            self._require_shape(given.shape)
            return given
        try:
            x = np.asarray(given)
        except ValueError as error:
            raise DataError(f"predict: the examples have no common shape: {error}") from error
        if x.dtype.kind not in "buif":
            raise DataError(f"predict: received values of type {x.dtype}; expected real numbers")
        if x.ndim == len(stored) and stored[-1] == 1 and x.shape[1:] == stored[:-1]:
            x = x[..., None]
        self._require_shape(x.shape)
        if x.dtype != np.uint8:
            x = x.astype(np.float64)
            if not np.isfinite(x).all():
                raise DataError("predict: the examples contain NaN or infinite values")
        return x

    def _require_shape(self, shape: tuple[int, ...]) -> None:
        stored = tuple(self._model["stored_shape"])
        if shape[1:] != stored or 0 in shape:
            raise DataError(
                f"predict: received an array of shape {shape}; expected at least one example in "
                f"shape (N, {', '.join(map(str, stored))}): stored units, after data.image"
            )

    def _pictures(self, paths: Sequence[Path]) -> npt.NDArray[Any]:
        stored = self._model
        if len(stored["stored_shape"]) != 3:
            raise DataError(
                "the run was trained on tables (one row of features per example), not on images; "
                "use paribus.Result(folder).predict(array)"
            )
        if not {"interpolation", "background"} <= stored.keys():
            raise RunError(
                f"{self.folder} was written by an earlier paribus, which did not keep how images "
                "are read; run its spec.toml again"
            )
        height, width, channels = stored["stored_shape"]
        red, green, blue = stored["background"]
        x = pictures.fitted(
            paths, (height, width), channels, stored["interpolation"], (red, green, blue)
        )
        white = float(stored["value_range"])
        return x if white == 255 else x * (white / 255)

    def _open(self) -> Session:
        if self._session is None:
            stored = self._model
            network = architectures.build(
                stored["architecture"],
                stored["parameters"],
                tuple(stored["input_shape"]),
                int(stored["classes"]),
            )
            backend = registry.choose(self._backend)
            device = registry.resolve_device(backend, self._device)
            task = _inference(network)
            precision = self.metrics["precision"]
            registry.check(backend, network, task, precision, device)
            self._session = backend.open(
                network,
                task,
                device=device,
                precision=precision,
                numerics=self.metrics["numerics"],
            )
            self._session.import_weights(weights.load(self.folder))
        return self._session


def describe_model(model: Model, examples: Dataset) -> dict[str, Any]:
    """Return what ``Result`` needs to open a model again, as JSON values."""
    network = model.network
    return {
        "architecture": network.architecture,
        "parameters": dict(network.parameters),
        "input_shape": list(network.input_shape),
        "classes": network.classes,
        "class_names": list(examples.class_names),
        "stored_shape": list(examples.x.shape[1:]),
        "value_range": examples.value_range,
        "interpolation": model.data.image.interpolation,
        "background": list(model.data.image.background),
        "preprocess": {
            "scale": list(model.preprocess.scale),
            "shift": list(model.preprocess.shift),
            "crop": None if model.preprocess.crop is None else list(model.preprocess.crop),
        },
    }


def open_model(machine: Machine, model: Model) -> Session:
    """Open a session of its own for a trained model, for evaluation and prediction."""
    session = machine.backend.open(
        model.network,
        _inference(model.network),
        device=machine.device,
        precision=machine.precision,
        numerics=machine.numerics,
    )
    session.import_weights(model.weights)
    return session


def _inference(network: architectures.Network) -> Task:
    return Task("sgd", network.trainable("none"))
