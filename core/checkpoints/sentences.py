"""sentence-transformers' own files beside a BERT: how a text's tokens become one vector."""

from __future__ import annotations

from typing import Literal

from paribus.checkpoints.fields import Fields, read_json
from paribus.checkpoints.folder import Folder
from paribus.errors import WeightsError

MODULES = "modules.json"
MODE = "pooling_mode"
Pooling = Literal["cls", "mean"]
# Modules of theirs: the body, what this file is about, and the vector's length, which is no layer.
_KNOWN = ("Transformer", "Pooling", "Normalize")
_MODES: dict[str, Pooling] = {"cls": "cls", "mean": "mean"}
_FLAGS: dict[str, Pooling] = {f"{MODE}_cls_token": "cls", f"{MODE}_mean_tokens": "mean"}


def pooling(folder: Folder) -> Pooling | None:
    """Return the pooling that a sentence-transformers folder asks for; None for other folders.

    Their ``cls`` is the first token as it leaves the last layer, without BERT's pooler.

    Raises:
        WeightsError: a pooling or a module that paribus does not have.
    """
    if not folder.has(MODULES):
        return None
    file = folder.file(MODULES)
    listed = read_json(file)
    if not isinstance(listed, list) or not all(isinstance(module, dict) for module in listed):
        raise WeightsError(f"{file}: expected a list of modules")
    found: Pooling | None = None
    for number, values in enumerate(listed):
        module = Fields(values, file, f"{number}.")
        name = module.text("type").rpartition(".")[2]
        if name not in _KNOWN:
            raise module.wrong("type", f"one of {', '.join(_KNOWN)}")
        if name == "Pooling":
            place = folder.inner(module.text("path"), file)
            found = _mode(place.fields("config.json"))
    return found


def _mode(config: Fields) -> Pooling:
    if isinstance(config.values.get(MODE), str):
        return config.only(MODE, _MODES, None)
    on = [key for key in config.values if key.startswith(MODE) and config.flag(key, False)]
    if len(on) != 1 or on[0] not in _FLAGS:
        raise WeightsError(
            f"{config.file}: {' and '.join(on) or 'no pooling_mode'} is not supported; allowed: "
            f"one of {', '.join(_FLAGS)}"
        )
    return _FLAGS[on[0]]
