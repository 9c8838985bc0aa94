"""A published checkpoint without a run: its weights, and the preprocessing that belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from paribus import registry, weights
from paribus.adapter import Array, Session, Task
from paribus.architectures import ARCHITECTURES, LANGUAGE, Network, build
from paribus.architectures.published import PUBLISHED
from paribus.belongings import ImageProcessing
from paribus.checkpoints import hub
from paribus.closing import Closing
from paribus.data import pictures, tokenizer_files
from paribus.errors import SpecError, WeightsError, nearest
from paribus.feeding import Feed
from paribus.filenames import is_folder
from paribus.plan import Preprocess, evaluation_plan
from paribus.predicting import Prediction, predict
from paribus.pretrained import Pretrained, describe
from paribus.readers import Pictures, Reader, Texts, shortened
from paribus.thrift import in_fewer_rows

WHITE = 255.0
CHUNK = 256
# Tokens; attention costs the square of them.
LONGEST = 512


class Checkpoint(Closing):
    """Weights that somebody published, ready to be asked: classifiers of images, models of texts.

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
                or VGG19 as ``.h5``; a folder as Hugging Face transformers saves a classifier of
                images or texts or a language model, or ``hub:owner/name``; or a run folder.
            backend, device: what to compute on.
            resize: the images' shorter side, instead of what belongs to the weights.

        Raises:
            SpecError: no such architecture, none with published weights, none given where one is
                needed, a body without a head, or too small a side.
            WeightsError: no such checkpoint, or it is of a kind that paribus does not have.
        """
        says = is_folder(Path(path)) or hub.named(str(path))
        if architecture is not None and architecture not in PUBLISHED and not says:
            known = "no published weights" if architecture in ARCHITECTURES else "unknown"
            raise SpecError(
                f"architecture {architecture!r}: {known}; allowed: {', '.join(PUBLISHED)}."
                f"{nearest(architecture, PUBLISHED)}"
            )
        self.pretrained = describe(path, architecture)
        self._architecture = _named(self.pretrained)
        if self.pretrained.reads_tokens and resize is not None:
            raise SpecError(f"resize = {resize}: {self.pretrained.path} reads texts; leave it out")
        self._image = None if self.pretrained.reads_tokens else _wanted(self.pretrained, resize)
        self._backend, self._device = backend, device
        self._session: Session | None = None

    def ask(
        self, inputs: Sequence[str | Path], *, top: int = 5, labels: Sequence[str] | None = None
    ) -> list[Prediction]:
        """Return what the model says of each input: image files; texts or files of texts.

        A table of texts has them in the column ``text``.

        Args:
            inputs: what to predict for.
            top: how many classes or tokens to keep, at most.
            labels: names by class number, instead of the checkpoint's own, where it has any.

        Raises:
            DataError: an input cannot be read, or there are not as many labels as classes.
            WeightsError: the weights cannot be read, or are those of another architecture.
            BackendError: the backend or device is not there.
        """
        names = self.pretrained.class_names if labels is None else labels
        objective = self.pretrained.objective or "classification"
        asked = self._reader.inputs([str(given) for given in inputs])
        return predict(asked, self.logits, objective, names, top, self._tokenizer)

    def predict_files(
        self, paths: Sequence[str | Path], *, top: int = 5, labels: Sequence[str] | None = None
    ) -> list[Prediction]:
        """Return what the model says of each file; the same as ``ask``."""
        return self.ask(paths, top=top, labels=labels)

    def logits(self, x: Array) -> npt.NDArray[np.float64]:
        """Return the outputs for examples; float64 [N, classes], of language models [N, T, C].

        Images uint8 [N, height, width, channels] are resized and cropped already, red, green,
        blue; texts are token numbers int32 [N, T], −1 past the end.
        """
        preprocess, rows = shortened(self._preprocess, x), np.arange(len(x), dtype=np.int64)

        def outputs(batch: int) -> npt.NDArray[np.float64]:
            plan = evaluation_plan(rows, batch, preprocess)
            return np.asarray(Feed(self._open(), x, None).predict(plan), dtype=np.float64)

        return in_fewer_rows(outputs, CHUNK, self.close)

    @property
    def _preprocess(self) -> Preprocess:
        wanted = self._image
        if wanted is None:
            return Preprocess(length=self._length)
        return Preprocess(
            tuple(1.0 / (WHITE * std) for std in wanted.std),
            tuple(mean / std for mean, std in zip(wanted.mean, wanted.std, strict=True)),
        )

    @property
    def _length(self) -> int:
        """Tokens of the longest text; what is longer is cut."""
        return min(LONGEST, int(self.pretrained.model["positions"]))

    @cached_property
    def _tokenizer(self) -> str | None:
        if not self.pretrained.reads_tokens:
            return None
        path = self.pretrained.path
        return tokenizer_files.read(self.pretrained.tokenizer or path).json

    @cached_property
    def _reader(self) -> Reader:
        wanted = self._image
        if wanted is None:
            assert self._tokenizer is not None
            return Texts(self._tokenizer, self._length, ("text",))
        shape = (*wanted.crop, len(wanted.mean))
        return Pictures(lambda paths: pictures.published(paths, wanted), shape)

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
        given = self.pretrained
        parameters = {n: v for n, v in given.model.items() if n != "architecture"}
        objective = given.objective or "classification"
        wanted = self._image
        shape = (self._length,) if wanted is None else (len(wanted.mean), *wanted.crop)
        network = build(self._architecture, parameters, shape, 1000, objective)
        # The last parameter is the last layer's: its first axis has a number for each class.
        last = tensors.get(list(network.tensors)[-1])
        if objective in LANGUAGE or last is None or last.ndim < 1 or len(last) < 1:
            return network
        return build(self._architecture, parameters, shape, len(last), objective)


def _named(pretrained: Pretrained) -> str:
    """Return the architecture of a checkpoint that can be asked something.

    Raises:
        SpecError: it has no head, or nobody says what it is.
    """
    path, name = pretrained.path, pretrained.architecture
    if name is None:
        raise SpecError(
            f"{path} does not say what it is; name its architecture: {', '.join(PUBLISHED)}"
        )
    if pretrained.reads_tokens and pretrained.objective is None:
        raise SpecError(
            f"{path} is a {name} without a head, which has nothing to say about a text; fine-tune "
            "it first: checkpoint in a spec"
        )
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
