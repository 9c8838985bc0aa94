"""What Hugging Face's ``datasets`` writes down about columns: the names of classes, mostly.

It stands in ``dataset_info.json`` and in the metadata of Arrow and Parquet schemas, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from paribus.errors import DataError

MAXIMUM_BYTES = 1 << 24


def features_of(metadata: Mapping[bytes, bytes] | None, origin: str) -> Mapping[str, Any]:
    """Return the features in a schema's metadata, by column; empty where there are none.

    Raises:
        DataError: they cannot be read.
    """
    stored = (metadata or {}).get(b"huggingface")
    if stored is None:
        return {}
    document = parsed(stored, f"{origin}: the metadata of datasets")
    info = document.get("info")
    features = info.get("features") if isinstance(info, dict) else None
    return features if isinstance(features, dict) else {}


def class_names(features: Mapping[str, Any], name: str, origin: str) -> tuple[str, ...] | None:
    """Return the names of a column's classes; None where it has none.

    Raises:
        DataError: they are not texts, or one is there twice.
    """
    feature = features.get(name)
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return None
    names = feature.get("names")
    if (
        not isinstance(names, list)
        or not all(isinstance(one, str) for one in names)
        or len(set(names)) < len(names)
    ):
        raise DataError(f"{origin}: the class names of column {name!r} are not different texts")
    return tuple(names)


def parsed(stored: bytes, origin: str) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        DataError: too large, or something else.
    """
    if len(stored) > MAXIMUM_BYTES:
        raise DataError(f"{origin}: has {len(stored)} bytes; allowed: up to {MAXIMUM_BYTES}")
    try:
        document = json.loads(stored)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{origin}: is not JSON ({error}); write it again") from error
    if not isinstance(document, dict):
        raise DataError(f"{origin}: is no JSON object; write it again")
    return document
