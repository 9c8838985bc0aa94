"""The JSON Schema of a spec, for editors: what may be written, not only what pydantic sees."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from paribus.spec import describe
from paribus.spec.merge import DISCRIMINATORS, NONE

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a spec file.

    Beyond the sections it knows the bare strings that stand for a model, an optimizer or a
    schedule, ``"none"`` for no value, and which keys have defaults that depend on others.
    """
    root = deepcopy(dict(describe.root()))
    for table in (root, *root["$defs"].values()):
        for key, node in table.get("properties", {}).items():
            table["properties"][key] = _as_written(key, node)
    # the sections that are given, where it is left out
    root["required"] = [key for key in root.get("required", ()) if key != "steps"]
    if not root["required"]:
        del root["required"]
    data = {"anyOf": [{"$ref": "#/$defs/Data"}, {"const": NONE}, {"type": "null"}]}
    root["$defs"]["PreTrain"]["properties"]["data"].update(data)
    root["$defs"]["Candidate"]["properties"].update(
        {key: {"type": ["object", "string"]} for key in ("model",)}
        | {key: {"type": "object"} for key in ("pretrain", "finetune", "data")}
    )
    root["$defs"]["Candidate"]["additionalProperties"] = False
    # keys may also be written as nested tables
    root["$defs"]["Optimize"]["properties"]["search"]["additionalProperties"] = True
    return {"$schema": DIALECT, **root, "title": "paribus experiment spec"}


def _as_written(key: str, node: dict[str, Any]) -> dict[str, Any]:
    if key in DISCRIMINATORS and "discriminator" in node:
        name = DISCRIMINATORS[key]
        tags = list(node["discriminator"]["mapping"])
        # any and not one: a table may leave its discriminator out, too
        outer = {k: v for k, v in node.items() if k not in ("oneOf", "discriminator")}
        shorthand = {
            "type": "string",
            "enum": tags,
            "description": f"Short for a table with only this {name}.",
        }
        return {**outer, "anyOf": [shorthand, *node["oneOf"]]}
    if describe.optional(node):
        return {**node, "anyOf": [*node["anyOf"], {"const": NONE, "description": "No value."}]}
    return node
