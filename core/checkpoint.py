"""A published checkpoint without a run: an architecture's name and a file of weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from paribus import registry, weights
from paribus.adapter import Array, Session, Task
from paribus.architectures import ARCHITECTURES, Network, build
from paribus.architectures.published import PUBLISHED
from paribus.closing import Closing
from paribus.data import pictures
from paribus.errors import SpecError, WeightsError, nearest
from paribus.plan import Preprocess, evaluation_plan
from paribus.predicting import CHUNK, Prediction, predict

WHITE = 255.0


class Checkpoint(Closing):
    """ImageNet weights of a published architecture, with the preprocessing that belongs to them.

    Opened on first use; ``close`` (or leaving a ``with`` block) frees it. The number of classes is
    that of the file's last layer.
    """

    def __init__(
        self,
        architecture: str,
        path: str | Path,
        *,
        backend: str = "auto",
        device: str = "auto",
        resize: int | None = None,
    ) -> None:
        """Describe the checkpoint; nothing is read yet.

        Args:
            architecture: a key of ``PUBLISHED``.
            path: a safetensors or PyTorch file, or a run folder.
            backend, device: what to compute on.
            resize: the images' shorter side, instead of what the first published weights expect.

        Raises:
            SpecError: no such architecture, none with published weights, or too small a side.
        """
        if architecture not in PUBLISHED:
            known = "no published weights" if architecture in ARCHITECTURES else "unknown"
            raise SpecError(
                f"architecture {architecture!r}: {known}; allowed: {', '.join(PUBLISHED)}."
                f"{nearest(architecture, PUBLISHED)}"
            )
        self._architecture, self._path = architecture, Path(path)
        self._backend, self._device = backend, device
        published = PUBLISHED[architecture]
        self._wanted = published if resize is None else replace(published, resize=resize)
        if self._wanted.resize < published.crop:
            raise SpecError(
                f"resize = {resize}: {architecture} sees {published.crop}×{published.crop} pixels "
                f"from the centre; allowed: {published.crop} or more"
            )
        self._session: Session | None = None

    def predict_files(
        self, paths: Sequence[str | Path], *, top: int = 5, labels: Sequence[str] | None = None
    ) -> list[Prediction]:
        """Return the ``top`` most probable classes of each image file.

        Raises:
            DataError: a file is not an image, or there are not as many labels as classes.
            WeightsError: the weights cannot be read, or are those of another architecture.
            BackendError: the backend or device is not there.
        """
        files = [Path(path) for path in paths]
        return predict(
            files, lambda some: pictures.published(some, self._wanted), self.logits, labels, top
        )

    def logits(self, x: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Return the outputs for images uint8 [N, crop, crop, 3]; float64 [N, classes]."""
        wanted = self._wanted
        preprocess = Preprocess(
            tuple(1.0 / (WHITE * std) for std in wanted.std),
            tuple(mean / std for mean, std in zip(wanted.mean, wanted.std, strict=True)),
        )
        session = self._open()
        plan = evaluation_plan(np.arange(len(x), dtype=np.int64), CHUNK, preprocess)
        return np.asarray(session.predict(session.put(x, None), plan), dtype=np.float64)

    def close(self) -> None:
        """Free the opened model."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _open(self) -> Session:
        if self._session is None:
            backend = registry.choose(self._backend)
            # Before the device, which imports the framework: what is wrong with a file is known
            # sooner.
            tensors = weights.load(self._path)
            network = self._network(tensors)
            what = f"the weights in {self._path}"
            try:
                weights.check(tensors, weights.shapes(network), what)
            except WeightsError as error:
                raise WeightsError(f"{error}. The network is {self._architecture}") from error
            task = Task("sgd", network.trainable("none"))
            device = registry.resolve_device(backend, self._device)
            registry.check(backend, network, task, "float32", device)
            self._session = backend.open(
                network, task, device=device, precision="float32", numerics="strict"
            )
            self._session.import_weights(tensors)
        return self._session

    def _network(self, tensors: dict[str, Array]) -> Network:
        shape = (3, self._wanted.crop, self._wanted.crop)
        network = build(self._architecture, {}, shape, 1000)
        # The last parameter is the last layer's bias, which has one number a class.
        last = tensors.get(list(network.tensors)[-1])
        if last is None or last.ndim != 1 or last.size < 1:
            return network
        return build(self._architecture, {}, shape, last.size)
