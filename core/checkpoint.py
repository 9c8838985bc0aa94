"""A published checkpoint without a run: its weights, and the preprocessing that belongs to them."""

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
from paribus.belongings import ImageProcessing
from paribus.checkpoints import hub
from paribus.closing import Closing
from paribus.data import pictures
from paribus.errors import SpecError, WeightsError, nearest
from paribus.plan import Preprocess, evaluation_plan
from paribus.predicting import CHUNK, Prediction, predict
from paribus.pretrained import Pretrained, describe

WHITE = 255.0


class Checkpoint(Closing):
    """Weights that somebody published to classify images, ready to do so.

    Opened on first use; ``close`` (or leaving a ``with`` block) frees it. The number of classes is
    that of the last layer.

    Attributes:
        pretrained: what the checkpoint says about itself.
    """

    def __init__(
        self,
        architecture: str | None,
        path: str | Path,
        *,
        backend: str = "auto",
        device: str = "auto",
        resize: int | None = None,
    ) -> None:
        """Describe the checkpoint; of a folder its small files are read, and no tensor yet.

        Args:
            architecture: a key of ``PUBLISHED``, for a file, which does not say what it is; None
                for a folder that does.
            path: a safetensors or PyTorch file with torchvision's names; keras.applications' VGG16
                or VGG19 as ``.h5``; a folder as Hugging Face transformers saves an image
                classifier, or ``hub:owner/name``; or a run folder.
            backend, device: what to compute on.
            resize: the images' shorter side, instead of what belongs to the weights.

        Raises:
            SpecError: no such architecture, none with published weights, none given where one is
                needed, no classifier of images, or too small a side.
            WeightsError: no such checkpoint, or it is of a kind that paribus does not have.
        """
        says = Path(path).is_dir() or hub.named(str(path))
        if architecture is not None and architecture not in PUBLISHED and not says:
            known = "no published weights" if architecture in ARCHITECTURES else "unknown"
            raise SpecError(
                f"architecture {architecture!r}: {known}; allowed: {', '.join(PUBLISHED)}."
                f"{nearest(architecture, PUBLISHED)}"
            )
        self.pretrained = describe(path, architecture)
        self._architecture = _classifier(self.pretrained)
        self._wanted = _wanted(self.pretrained, resize)
        self._backend, self._device = backend, device
        self._session: Session | None = None

    def predict_files(
        self, paths: Sequence[str | Path], *, top: int = 5, labels: Sequence[str] | None = None
    ) -> list[Prediction]:
        """Return the ``top`` most probable classes of each image file.

        Args:
            paths: image files.
            top: how many classes to keep, at most.
            labels: names by class number, instead of the checkpoint's own, where it has any.

        Raises:
            DataError: a file is not an image, or there are not as many labels as classes.
            WeightsError: the weights cannot be read, or are those of another architecture.
            BackendError: the backend or device is not there.
        """
        names = self.pretrained.class_names or None if labels is None else labels
        files = [Path(path) for path in paths]
        return predict(
            files, lambda some: pictures.published(some, self._wanted), self.logits, names, top
        )

    def logits(self, x: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Return the outputs for images uint8 [N, height, width, channels]; float64 [N, classes].

        The images are resized and cropped already; red, green, blue.
        """
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
            path = self.pretrained.path
            tensors = weights.load(path)
            network = self._network(tensors)
            try:
                weights.check(tensors, weights.shapes(network), f"the weights in {path}")
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
        parameters = {n: v for n, v in self.pretrained.model.items() if n != "architecture"}
        shape = (len(self._wanted.mean), *self._wanted.crop)
        network = build(self._architecture, parameters, shape, 1000)
        # The last parameter is the last layer's bias, which has one number a class.
        last = tensors.get(list(network.tensors)[-1])
        if last is None or last.ndim != 1 or last.size < 1:
            return network
        return build(self._architecture, parameters, shape, last.size)


def _classifier(pretrained: Pretrained) -> str:
    """Return the architecture of a checkpoint that classifies images.

    Raises:
        SpecError: it is nothing of the kind, or nobody says what it is.
    """
    path, name = pretrained.path, pretrained.architecture
    if name is None:
        raise SpecError(
            f"{path} does not say what it is; name its architecture: {', '.join(PUBLISHED)}"
        )
    if pretrained.reads_tokens:
        raise SpecError(
            f"{path} is a {name} and reads texts; published weights are used here to classify "
            "images"
        )
    if pretrained.objective not in (None, "classification"):
        raise SpecError(f"{path} was trained for {pretrained.objective}; it has no classes")
    return name


def _wanted(pretrained: Pretrained, resize: int | None) -> ImageProcessing:
    wanted = pretrained.image
    if wanted is None:
        raise SpecError(
            f"{pretrained.path} does not say how pictures become its inputs: expected a "
            "preprocessor_config.json beside its weights"
        )
    if resize is None:
        return wanted
    height, width = wanted.crop
    if not isinstance(wanted.resize, int):
        raise SpecError(
            f"resize = {resize}: {pretrained.path} resizes pictures to {height}×{width}, whatever "
            "their sides; leave it out"
        )
    if resize < max(wanted.crop):
        raise SpecError(
            f"resize = {resize}: {pretrained.architecture} sees {height}×{width} pixels from the "
            f"centre; allowed: {max(wanted.crop)} or more"
        )
    return replace(wanted, resize=resize)
