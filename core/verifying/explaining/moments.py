"""What BatchNorm's running statistics were updated with, instead of their definition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from paribus.adapter import Array
from paribus.architectures import Network, Node
from paribus.plan import TrainPlan
from paribus.verifying.explaining.explanation import Explanation, Guess, explain, single_digit

Statistics = Mapping[str, Array]


def explain_statistics(
    network: Network,
    plan: TrainPlan,
    before: Statistics,
    right: Statistics,
    actual: Statistics,
) -> Explanation | None:
    """Return the changed update that leaves ``actual``.

    Args:
        network: with its nodes; plan: of one step.
        before: statistics before the step; right: by the definition; both by canonical name.
        actual: what was left.
    """
    norms = [
        node
        for node in network.nodes
        if node.op == "batch_norm"
        and not np.array_equal(right[f"{node.name}.running_mean"],
                               before[f"{node.name}.running_mean"])
    ]  # fmt: skip
    names = [f"{node.name}.{leaf}" for node in norms for leaf in ("running_mean", "running_var")]
    wanted = {name: np.asarray(actual[name], dtype=np.float64) for name in names}
    definition = {name: np.asarray(right[name], dtype=np.float64) for name in names}
    old = {name: np.asarray(before[name], dtype=np.float64) for name in names}
    return explain(wanted, definition, _guesses(network, plan, norms, old, definition, wanted))


def _guesses(
    network: Network,
    plan: TrainPlan,
    norms: list[Node],
    old: Statistics,
    right: Statistics,
    actual: Statistics,
) -> Iterator[Guess]:
    # What S shards have left of the old value, and of the batches'.
    shards = plan.counts.shape[1]
    kept = {
        f"{node.name}.{leaf}": (1.0 - node.attributes["momentum"]) ** shards
        for node in norms
        for leaf in ("running_mean", "running_var")
    }
    new = {name: right[name] - kept[name] * old[name] for name in right}
    biased = {
        name: kept[name] * old[name] + new[name] * _bias(network, plan, name) for name in right
    }
    yield Guess("the running variance is the biased one (÷ n), not n/(n−1) times it", biased)
    yield Guess("the running statistics are not updated", old)
    if shards > 1:
        return
    # With one shard: right = old + m·(batch − old), so another share m′ moves m′/m as far.
    moved = {name: right[name] - old[name] for name in right}
    size = sum(float((array**2).sum()) for array in moved.values())
    if size == 0.0 or not norms:
        return
    stated = norms[0].attributes["momentum"]
    for how, target in (("", moved), (", and of the biased variance", _moved(biased, old))):
        means = [name for name in target if name.endswith("running_mean")]
        length = sum(float((target[name] ** 2).sum()) for name in means)
        if length == 0.0:
            continue
        along = sum(float((target[n] * (actual[n] - old[n])).sum()) for n in means)
        share = stated * along / length
        nice = single_digit(share)
        share = nice if abs(nice - share) < 1e-6 * share else share
        # The share applies to the batch's own moments, whichever variance they hold.
        predicted = {name: old[name] + share / stated * target[name] for name in target}
        yield Guess(
            f"the running statistics take {share:.4g} of each batch{how} and keep {1 - share:.4g}, "
            f"not {stated:g} and {1 - stated:g}",
            predicted,
        )


def _moved(after: Statistics, before: Statistics) -> dict[str, Array]:
    return {name: after[name] - before[name] for name in after}


def _bias(network: Network, plan: TrainPlan, name: str) -> float:
    """Return (n − 1)/n of a running variance's batches, 1 of a mean."""
    node, _, leaf = name.rpartition(".")
    if leaf != "running_var":
        return 1.0
    places = int(np.prod(network.node[node].shape[1:]))
    # Of shards that differ by a row, the first one's; they weigh differently in the sum.
    count = int(plan.counts[0, 0]) * places
    return (count - 1) / count
