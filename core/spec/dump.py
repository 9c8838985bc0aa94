"""A spec back into text: the resolved TOML that is saved with a run and runs again."""

from __future__ import annotations

from typing import Any

from paribus.spec.merge import difference, merge, written
from paribus.spec.sections import Spec
from paribus.spec.tree import Tree


def tree_of(spec: Spec) -> Tree:
    """Return every value of the spec as a plain tree; keys without a value are left out.

    Where ``[pretrain.data]`` has no value and ``[data]`` has one, it says ``"none"``: left out,
    the key would inherit.
    """
    tree: dict[str, Any] = spec.model_dump(mode="json", exclude_none=True)
    if spec.native is not None:
        # The two exclude each other, and this one is only the section's default.
        del tree["model"]
    if spec.select is not None:
        tree["select"]["candidates"] = [
            {"name": candidate.name, **written(candidate.model_dump(mode="json", exclude={"name"}))}
            for candidate in spec.select.candidates
        ]
    if spec.optimize is not None:
        search = tree["optimize"]["search"]
        tree["optimize"]["search"] = {key: written(space) for key, space in search.items()}
    if spec.pretrain.data is not None:
        own = tree["pretrain"]["data"]
        tree["pretrain"]["data"] = merge(difference(tree["data"], own), own)
    return tree


def dumps(spec: Spec) -> str:
    """Return the resolved spec as TOML, every hyperparameter spelled out.

    ``load`` gives an equal spec back.
    """
    # imported here: loading a spec need not wait for it
    import tomli_w

    return tomli_w.dumps(tree_of(spec))
