"""What a spec takes over from the checkpoint that it names: sizes, tokenizer, preprocessing.

A published checkpoint is more than its tensors. ``checkpoint = "folder"`` puts what belongs to them
under the spec, as if it stood there and the spec's own keys over it; so a resolved spec states
every value, and a key of the spec still wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from paribus.spec.merge import NONE, expand, merge
from paribus.spec.tree import Tree

if TYPE_CHECKING:
    from paribus.belongings import ImageProcessing

KEY = "checkpoint"


def with_checkpoint(tree: Mapping[str, Any]) -> Tree:
    """Return ``tree`` over what its ``checkpoint`` brings; unchanged where it names none.

    Raises:
        SpecError, WeightsError: the checkpoint cannot be read or is of a kind that is not known.
    """
    path = tree.get(KEY)
    if not isinstance(path, str) or path == NONE:
        return dict(tree)
    from paribus import pretrained

    model = expand("model", tree.get("model"))
    stated = model.get("architecture") if isinstance(model, Mapping) else None
    found = pretrained.describe(path, stated if isinstance(stated, str) else None)
    base: Tree = {"model": dict(found.model)} if found.model else {}
    data: Tree = {} if found.image is None else _images(found.image)
    if found.reads_tokens:
        # A folder may have a tokenizer of an older kind than tokenizer.json.
        data["tokenizer"] = {"path": str(found.tokenizer or found.path)}
    if data:
        base["data"] = data
    return merge(base, tree)


def _images(wanted: ImageProcessing) -> Tree:
    """Return the sections that read pictures as a checkpoint expects them.

    What is cut out of the centre may be cut anywhere in training (``data.transform.crop``).
    """
    side = wanted.resize
    size = [side, side] if isinstance(side, int) else list(side)
    image = {"size": size, "channels": len(wanted.mean), "interpolation": wanted.interpolation,
             "fit": "cover" if isinstance(side, int) else "stretch"}  # fmt: skip
    transform: Tree = {"normalize": {"mean": list(wanted.mean), "std": list(wanted.std)}}
    if list(wanted.crop) != size and wanted.crop[0] == wanted.crop[1]:
        transform["crop"] = wanted.crop[0]
    return {"image": image, "transform": transform}
