"""The trainings that have ended: told again instead of done again when a run goes on.

Steps ask for trainings in an order that follows from the spec and from the outcomes before; those
that were trained side by side ended in any order. So a training is found by its labels, which no
other has, and what is left must be among those that are asked for next.
"""

from __future__ import annotations

from collections.abc import Sequence

from paribus.errors import NonFiniteLoss, RunError, RunFolderError
from paribus.metrics import Evaluation
from paribus.runstate.records import Finished, Identity, Judged, evaluation
from paribus.stepping import AfterEpoch, silent


class Journal:
    """Finished trainings in their order; those that an earlier leg left are recalled first.

    Args:
        entries: what earlier legs finished.
        changed: whether this leg goes on with another recipe than they had.

    Attributes:
        entries: all of them.
        unrecalled: those that an earlier leg left and nobody has asked for, in their order.
    """

    def __init__(self, entries: Sequence[Finished] = (), *, changed: bool = False) -> None:
        self.entries, self._changed = list(entries), changed
        self.unrecalled = [entry.identity for entry in self.entries]
        self._earlier = {_key(entry.identity): entry for entry in self.entries}

    def recall(self, identity: Identity) -> Finished | None:
        """Return the outcome of a training that an earlier leg finished, or None.

        Raises:
            RunError: the earlier leg finished another training of these labels.
        """
        found = self._earlier.pop(_key(identity), None)
        if found is not None:
            require_same(found.identity, identity, changed=self._changed)
            self.unrecalled.remove(found.identity)
            # A later leg asks for it by the recipe of this one.
            index = self.entries.index(found)
            self.entries[index] = found.model_copy(update={"identity": identity})
        return found

    def add(self, entry: Finished) -> None:
        """Add a training that has ended now."""
        self.entries.append(entry)


def _key(identity: Identity) -> tuple[tuple[str, str | int], ...]:
    return tuple(sorted(identity.labels.items()))


class Listener:
    """An ``after_epoch`` that remembers whether it raised; nobody may listen at all."""

    def __init__(self, inner: AfterEpoch) -> None:
        self._inner = inner
        self.listens = inner is not silent
        self.raised = False

    def __call__(self, epoch: int, validation: Evaluation | None) -> bool:
        """Tell the inner one."""
        try:
            return self._inner(epoch, validation)
        except Exception:
            self.raised = True
            raise


def require_same(then: Identity, now: Identity, *, changed: bool = False) -> None:
    """Require that two trainings are the same one, or with a ``changed`` spec but for its recipe.

    Raises:
        RunError: they differ; it says in what.
    """
    if changed and "recipe" in then.depends:
        recipe = {"recipe": now.depends.get("recipe", "")}
        then = then.model_copy(update={"depends": then.depends | recipe})
    if then == now:
        return
    if then.labels != now.labels:
        differs = f"the run's next training was {then.title!r}"
    else:
        parts = [name for name, value in then.depends.items() if now.depends.get(name) != value]
        differs = f"its {', '.join(parts) or 'dependencies'} changed"
    raise RunError(
        f"{now.title}: cannot go on, because {differs}. Use the versions of paribus and its "
        "packages, and the files, that the run began with (result.json has the versions), or run "
        "it anew with --overwrite"
    )


def require_metrics(
    identity: Identity, metrics: Sequence[str], judged: Sequence[Judged | None]
) -> None:
    """Require that what a checkpoint says of evaluations has every metric that is asked for.

    Raises:
        RunFolderError: one is missing.
    """
    wanted = {name for name in metrics if name != "loss"}
    missing = sorted(
        {name for one in judged if one is not None for name in wanted - set(one.scores)}
    )
    if missing:
        raise RunFolderError(
            f"{identity.title}: the checkpoint lacks {', '.join(missing)} of an epoch; run it anew "
            "with --overwrite"
        )


def tell_again(found: Finished, after_epoch: AfterEpoch) -> None:
    """Report a finished training's epochs again, and raise what ended it.

    Raises:
        NonFiniteLoss: the training diverged.
        RunError: whoever listens decided otherwise than before.
        Exception: what ``after_epoch`` raises where it ended the training.
    """
    report(found.identity, found.validations, after_epoch, raises=found.how == "cut")
    if found.how == "diverged":
        raise NonFiniteLoss(found.error or f"{found.identity.title}: diverged")
    if found.how == "cut":
        raise _otherwise(found.identity)


def report(
    identity: Identity,
    validations: Sequence[Judged | None],
    after_epoch: AfterEpoch,
    *,
    raises: bool,
) -> None:
    """Report epochs to ``after_epoch``, which may raise only at the last one, if ``raises``."""
    for epoch, validation in enumerate(validations, start=1):
        try:
            after_epoch(epoch, evaluation(validation))
        except Exception as error:
            if raises and epoch == len(validations):
                raise
            raise _otherwise(identity) from error


def _otherwise(identity: Identity) -> RunError:
    return RunError(
        f"{identity.title}: cannot go on, because the pruner decides otherwise than it did; use "
        "the version of optuna that the run began with (result.json has it), or run it anew with "
        "--overwrite"
    )
