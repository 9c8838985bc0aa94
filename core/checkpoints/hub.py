"""``hub:owner/name[@revision]``: a model of Hugging Face's hub, as a folder on this machine.

Only files that hold tensors, tokens or JSON are downloaded: safetensors, never a pickle, and
nothing that could be run. What an earlier download left in the local cache needs no network.
"""

from __future__ import annotations

import re
from pathlib import Path

from paribus.errors import WeightsError

PREFIX = "hub:"
FILES = (
    "config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    # Of sentence-transformers: how a text's tokens become one vector.
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
)
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_REFERENCE = re.compile(
    rf"(?P<name>{_PART}/{_PART})(?:@(?P<revision>[A-Za-z0-9][A-Za-z0-9._/-]{{0,200}}))?"
)
SECONDS = 10


def named(text: str) -> bool:
    """Return whether a path means a model of the hub."""
    return text.startswith(PREFIX)


def located(path: Path) -> Path:
    """Return a path as it is, or for ``hub:…`` the folder that its files were downloaded to.

    Raises:
        WeightsError: not ``hub:owner/name[@revision]``, no network and nothing in the local cache,
            or no such model.
    """
    text = str(path)
    if not named(text):
        return path
    match = _REFERENCE.fullmatch(text.removeprefix(PREFIX))
    if match is None or ".." in text or "--" in text:
        raise WeightsError(
            f"{text!r} names no model; allowed: hub:owner/name or hub:owner/name@revision, for "
            "example hub:google-bert/bert-base-uncased"
        )
    return _downloaded(match["name"], match["revision"], text)


def _downloaded(name: str, revision: str | None, text: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            GatedRepoError,
            HfHubHTTPError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
    except ImportError as error:
        raise WeightsError(
            f"{text} needs the package that downloads from the hub: pip install huggingface_hub. "
            "Or download the files and give their folder"
        ) from error
    try:
        found = snapshot_download(
            name, revision=revision, allow_patterns=list(FILES), etag_timeout=SECONDS
        )
    except (GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise WeightsError(
            f"{text}: the hub has no such model or revision, or not for everybody; look at "
            f"https://huggingface.co/{name}"
        ) from error
    except LocalEntryNotFoundError as error:
        raise WeightsError(
            f"{text}: the hub cannot be reached, and the local cache does not have it; connect to "
            "the network, or copy the model's folder here and give its path"
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise WeightsError(
            f"{text} could not be downloaded ({type(error).__name__}: {error}); try again, or copy "
            "the model's folder here and give its path"
        ) from error
    return Path(found)
