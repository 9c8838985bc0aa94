"""Files that a spec names, made absolute, so that a saved spec runs again from any folder."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from paribus.checkpoints import hub
from paribus.spec.caching import Cache
from paribus.spec.data import Data
from paribus.spec.sections import Spec
from paribus.spec.training import FineTune, PreTrain

Recipe = TypeVar("Recipe", PreTrain, FineTune)
WORDS = ("auto", "drawn", "checkpoint")
HUB = "hub:"


def absolute(spec: Spec) -> Spec:
    """Return the spec with ``~`` expanded and relative paths taken from the current folder."""
    pretrain = spec.pretrain
    if pretrain.data is not None:
        pretrain = pretrain.model_copy(update={"data": _data(pretrain.data)})
    return spec.model_copy(
        update={
            "data": _data(spec.data),
            "pretrain": _weights(pretrain),
            "finetune": _weights(spec.finetune),
            "cache": _cache(spec.cache),
            "checkpoint": None if spec.checkpoint is None else _path(spec.checkpoint),
        }
    )


def _cache(section: Cache) -> Cache:
    place = section.directory
    return section.model_copy(update={"directory": None if place is None else _path(place)})


def _data(section: Data) -> Data:
    if section.tokenizer.path is not None:
        tokenizer = section.tokenizer.model_copy(update={"path": _path(section.tokenizer.path)})
        section = section.model_copy(update={"tokenizer": tokenizer})
    return (
        section
        if section.path is None
        else section.model_copy(update={"path": _path(section.path)})
    )


def _weights(recipe: Recipe) -> Recipe:
    if recipe.weights in WORDS or hub.named(recipe.weights):
        return recipe
    return recipe.model_copy(update={"weights": _path(recipe.weights)})


def _path(text: str) -> str:
    return text if text.startswith(HUB) else str(Path(text).expanduser().absolute())
