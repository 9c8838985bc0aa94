"""What a run leaves, for use from Python: numbers, predictions, and the framework's own model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paribus import architectures, registry, runfiles, runrecord, status, weights
from paribus.adapter import Session, Task
from paribus.belongings import Belongings, write
from paribus.closing import Closing
from paribus.data.streamed import Examples, Streamed
from paribus.errors import RunError
from paribus.feeding import Feed
from paribus.machine import Machine
from paribus.plan import evaluation_plan, even
from paribus.predicting import Floats, Prediction, predict, softmax
from paribus.readers import shortened
from paribus.runmodel import StoredModel
from paribus.steps.experiment import Model
from paribus.thrift import in_fewer_rows

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
            RunFolderError: it is not a run folder, or its ``result.json`` is damaged.
        """
        self.folder = Path(folder)
        self.metrics: dict[str, Any] = runfiles.read_result(self.folder)
        told = runrecord.header(self.metrics, self.folder / runfiles.RESULT)
        self._backend = backend or told.backend
        self._device = device or ("auto" if backend else told.device)
        self._session: Session | None = None
        self._stored: StoredModel | None = None

    def __repr__(self) -> str:
        return f"Result({str(self.folder)!r}, status={self.metrics.get('status')!r})"

    @property
    def test(self) -> dict[str, Any] | None:
        """``loss``, further metrics and ``examples`` of the test; None where none was asked for."""
        return self.metrics.get("test")

    @cached_property
    def history(self) -> list[dict[str, Any]]:
        """The rows of ``metrics.jsonl``."""
        return runfiles.read_metrics(self.folder)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes by label, or of the numbers of regression."""
        return self.model.names

    @property
    def model(self) -> StoredModel:
        """The trained model, without its weights.

        Raises:
            RunError: the run trained none.
        """
        if self._stored is None:
            model = self.metrics.get("model")
            if not isinstance(model, dict):
                raise RunError(
                    f"{self.folder} has no model (status {self.metrics.get('status')!r}); add a "
                    "pretrain or finetune step to the spec"
                )
            file = self.folder / runfiles.RESULT
            self._stored = StoredModel(self.folder, runrecord.model(model, file))
        return self._stored

    def logits(self, x: Any) -> Floats:
        """Return the model's outputs for examples; float64 [N, C], of language models [N, T, C].

        Args:
            x: examples as ``data.source`` and ``data.image`` leave them, before any transform:
                images [N, H, W, channels] (or [N, H, W] with one channel), in the source's own
                units, already resized; tables [N, features]; or N texts, or pairs of texts.
                ``Streamed`` examples, as ``paribus.data.load`` returns them, are read a bounded
                number at a time.

        Raises:
            DataError: they do not fit.
            RunError: the run trained no model.
        """
        return self._outputs(self.model.reader.array(x))

    def predict_proba(self, x: Any) -> Floats:
        """Return softmax probabilities; float64, shaped like ``logits``.

        Raises:
            RunError: the model is one of regression.
        """
        if self.model.network.objective == "regression":
            raise RunError("predict_proba: the model predicts numbers, not classes; use predict")
        return softmax(self.logits(x))

    def predict(self, x: Any) -> npt.NDArray[Any]:
        """Return the most probable labels, int64 [N], or the numbers of regression, float64 [N, C].

        Of language models: the most probable token at each place, int64 [N, T]. See ``logits``.
        """
        found = self.logits(x)
        if self.model.network.objective == "regression":
            return found
        return np.asarray(found.argmax(axis=-1), dtype=np.int64)

    def ask(
        self, inputs: Sequence[str | Path], *, top: int = 5, labels: Sequence[str] | None = None
    ) -> list[Prediction]:
        """Return what the model says of each input, as people name them.

        Image files are decoded as ``data.image_folder`` does, resized to the size that the run's
        examples have, and scaled so that white is the data's own largest value. A model of texts
        takes the texts themselves, .txt files of one text, and .csv, .jsonl or .parquet files of
        one in a row, in the columns of the run's data. A masked language model guesses every mask
        token of a text, a causal one the token after it.

        Args:
            inputs: files, or texts.
            top: how many classes or tokens to keep, at most.
            labels: names by class number, instead of the run's.

        Raises:
            DataError: an input cannot be read, the run's examples are tables, or there are not as
                many labels as classes.
            RunError: the run trained no model.
        """
        model = self.model
        names = model.names if labels is None else labels
        asked = model.reader.inputs([str(given) for given in inputs])
        objective = model.network.objective
        return predict(asked, self._outputs, objective, names, top, model.tokenizer)

    def predict_files(
        self, paths: Sequence[str | Path], *, top: int = 5, labels: Sequence[str] | None = None
    ) -> list[Prediction]:
        """Return what the model says of each file; the same as ``ask``."""
        return self.ask(paths, top=top, labels=labels)

    def native(self) -> Any:
        """Return the framework's own object with the trained weights, to keep working with."""
        return self._open().native()

    @property
    def belongings(self) -> Belongings:
        """What goes with the model: names, how pictures become its inputs, its tokenizer."""
        return self.model.belongings

    def save_native(self, folder: str | Path) -> Path:
        """Write what the framework's users expect into ``folder``; return the path written.

        What goes with the model is written beside: see ``belongings.write``.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        given = self.belongings
        written = self._open().save_native(target, given)
        write(target, given)
        return written

    def save_onnx(self, path: str | Path) -> Path:
        """Write the model as an ONNX file, which needs no framework, and return its path.

        ``paribus.onnx`` says what the file holds: float32, inputs ``pixel_values``, ``features`` or
        ``input_ids`` …, outputs ``logits`` or ``values``, and in its metadata the names of the
        classes and how images and stored examples become inputs. onnxruntime has executed it
        before it is at ``path``, whose folder is made if need be; a file that is there is replaced.

        Raises:
            BackendMissing: onnx or onnxruntime is not installed; pip install 'paribus[onnx]'.
            RunError: the run trained no model, or its outputs are not finite in float32.
            WeightsError: its weights cannot be read.
            OSError: the file cannot be written.
        """
        from paribus.onnx import save

        model, tensors = self.model, weights.load(self.folder)
        network, preprocess = model.network, model.preprocess
        return save(network, tensors, Path(path), model.belongings, preprocess=preprocess)

    def close(self) -> None:
        """Free the opened model."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _outputs(self, examples: Examples) -> Floats:
        rows = np.arange(len(examples), dtype=np.int64)
        preprocess = shortened(self.model.preprocess, examples)
        usual = even(len(rows), PREDICTION_BATCH)

        def outputs(batch: int) -> Floats:
            x = examples if batch == usual else Streamed.of(examples)
            plan = evaluation_plan(rows, batch, preprocess)
            return np.asarray(Feed(self._open(), x, None).predict(plan), dtype=np.float64)

        return in_fewer_rows(outputs, usual, self.close)

    def _open(self) -> Session:
        if self._session is None:
            network = self.model.network
            backend = registry.choose(self._backend)
            device = registry.resolve_device(backend, self._device)
            task = inference(network)
            precision = self.metrics["precision"]
            registry.check(backend, network, task, precision, device)
            self._session = backend.open(
                network,
                task,
                device=device,
                precision=precision,
                numerics=self.metrics["numerics"],
            )
            if self.metrics["numerics"] == "fast":
                self._session.tune(status.tuning(self.metrics))
            self._session.import_weights(weights.load(self.folder))
        return self._session


def open_model(machine: Machine, model: Model) -> Session:
    """Open a session of its own for a trained model, for evaluation and prediction."""
    session = apart(machine, model)
    machine.tune(session)
    return session


def apart(machine: Machine, model: Model) -> Session:
    """Open what ``open_model`` does, which chooses nothing."""
    task = inference(model.network, model.judge.label_smoothing)
    session = machine.apart(model.network, task)
    session.import_weights(model.weights)
    return session


def inference(network: architectures.Network, label_smoothing: float = 0.0) -> Task:
    """Return the task of a session that only evaluates and predicts."""
    return Task("sgd", network.trainable("none"), label_smoothing=label_smoothing)
