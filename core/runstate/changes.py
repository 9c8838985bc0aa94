"""Which changes of a spec a run can go on with when it is told to, and why not with others.

What has ended stays as it ended, so a change may only touch what is still to come. A step that has
not begun may change in any way; the training under way in what its next steps do (how many there
are, how fast they learn, when to stop), not in what its state is of (its model, data, batches and
optimizer). A search that has begun compares like with like: it may only get more trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paribus.spec.sections import Spec

Key = tuple[str | int, ...]

ALWAYS = ("name", "evaluate_test")
# Of the recipe of a training under way.
ON_THE_WAY = (
    ("epochs",),
    ("clip_norm",),
    ("keep",),
    ("early_stopping",),
    ("schedule",),
    ("optimizer", "learning_rate"),
    ("optimizer", "weight_decay"),
)


def obstacle(
    key: Key, now: Any, then: Any, spec: Spec, begun: Sequence[str], epoch: int | None
) -> str | None:
    """Return why a run cannot go on with a change, or None if it can.

    Args:
        key: of what changed; now, then: its values.
        spec: with the change.
        begun: the steps that have begun, in order; the last one is under way.
        epoch: that the training under way is in; None where none is.
    """
    section, rest = str(key[0]), tuple(key[1:])
    if section in ALWAYS:
        return None
    if section not in ("pretrain", "select", "optimize", "finetune"):
        return "it decides what every step computes"
    if rest[:1] == ("data",):
        return "the state belongs to the data that the run began with"
    users = [step for step in _uses(spec).get(section, ()) if step in begun]
    if not users:
        return None
    step = begun[-1]
    if step in users and step in ("select", "optimize"):
        if section == "optimize" and rest == ("trials",):
            return None if _longer(now, then) else "trials that are done stay; it can only grow"
        return f"{step} has begun with the other one, and compares like with like"
    if section != step:
        return f"{users[-1]} has used it and is not done again"
    if not any(rest[: len(one)] == one for one in ON_THE_WAY):
        return "the state of the training under way belongs to the other one"
    if rest == ("epochs",) and epoch is not None and not _longer(now, epoch):
        return f"the training under way is in epoch {epoch} already"
    return None


def begun_steps(spec: Spec, labels: Sequence[Mapping[str, str | int]]) -> list[str]:
    """Return the steps that have begun, of the labels of the trainings that have."""
    named = [str(one.get("step")) for one in labels]
    last = max((i for i, step in enumerate(spec.steps) if step in named), default=-1)
    return list(spec.steps[: last + 1])


def _uses(spec: Spec) -> dict[str, list[str]]:
    """Return, by section, the steps that it decides about, in order."""
    found: dict[str, list[str]] = {}
    for step in spec.steps:
        found.setdefault(step, []).append(step)
        part = getattr(spec, step)
        # A selection or search trains by the recipe of another step.
        if step in ("select", "optimize") and part is not None:
            found.setdefault(part.step, []).append(step)
            if part.step == "finetune" and "pretrain" in spec.steps:
                found.setdefault("pretrain", []).append(step)
    return {section: [s for s in spec.steps if s in steps] for section, steps in found.items()}


def _longer(now: Any, least: Any) -> bool:
    return isinstance(now, int) and isinstance(least, int) and now >= least
