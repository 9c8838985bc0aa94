"""A proposal of which tensor of one model is which of another: by shape, role and order.

For people to confirm, never taken silently. Tensors are matched in the order in which the models
define them. A match needs shapes that agree in some layout and, where both frameworks' words for a
tensor are known (a BatchNorm's scale, a bias), the same word; modules are matched whole. Among what
fits, an equal operation comes first, then an equal name, then order. Whatever finds no partner is
listed on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from math import prod

from paribus.architectures.network import Shape
from paribus.native.inspection import Inspection, NativeTensor
from paribus.native.layout import Part, Table

WORDS = frozenset(("weight", "bias", "scale", "shift", "mean", "variance"))
# A depthwise convolution: its outputs are the inputs' channels times a multiplier.
DEPTHWISE, GROUPED = "HWCM", "OIHW"
# Orders of axes that frameworks use, by how many axes there are.
USUAL: dict[int, tuple[tuple[int, ...], ...]] = {
    2: ((1, 0),),
    3: ((2, 1, 0),),
    4: ((2, 3, 1, 0), (3, 2, 0, 1)),
}


@dataclass(frozen=True)
class Proposal:
    """What matches, and what to look at before it is believed.

    Attributes:
        table: reference name → part in the other model.
        missing: tensors of the reference that found none; extra: of the other model.
        unsure: a sentence for each match that shapes and roles alone do not decide.
    """

    table: Table
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    unsure: tuple[str, ...]


def propose(reference: Inspection, other: Inspection) -> Proposal:
    """Return which tensor of ``other`` each tensor of ``reference`` probably is."""
    table: dict[str, tuple[Part, ...]] = {}
    unsure: list[str] = []
    partner: dict[str, str] = {}
    for tensor in reference.tensors:
        taken = {part.name for parts in table.values() for part in parts}
        joined = _joined(tensor, [one for one in other.tensors if one.name not in taken])
        if joined:
            table[tensor.name] = joined
            continue
        options = [
            (option, part)
            for option in other.tensors
            if option.name not in taken
            and _may_pair(tensor, option, partner)
            and (part := fitting(tensor, option)) is not None
        ]
        if not options:
            continue
        ranked = sorted(options, key=lambda found: _distance(tensor, found[0], reference, other))
        best, part = ranked[0]
        table[tensor.name] = (part,)
        rivals = [
            option.name
            for option, _ in ranked[1:]
            if _distance(tensor, option, reference, other)
            == _distance(tensor, best, reference, other)
        ]
        if rivals and tensor.module not in partner:
            unsure.append(
                f"{tensor.name} is {best.name} by order; by shape it could be {', '.join(rivals)}"
            )
        if _guessed(tensor, best):
            unsure.append(
                f"{tensor.name} {list(tensor.shape)} and {best.name} may be transposed; the shapes "
                "do not say"
            )
        if tensor.module and best.module:
            partner.setdefault(tensor.module, best.module)
    found = {part.name for parts in table.values() for part in parts}
    return Proposal(
        table,
        tuple(t.name for t in reference.tensors if t.name not in table),
        tuple(t.name for t in other.tensors if t.name not in found),
        tuple(unsure),
    )


def _may_pair(tensor: NativeTensor, option: NativeTensor, partner: dict[str, str]) -> bool:
    if tensor.kind != option.kind:
        return False
    if tensor.leaf != option.leaf and {tensor.leaf, option.leaf} <= WORDS:
        return False
    if tensor.module in partner:
        return option.module == partner[tensor.module]
    return not option.module or option.module not in partner.values()


def _distance(
    tensor: NativeTensor, option: NativeTensor, reference: Inspection, other: Inspection
) -> tuple[bool, bool, bool]:
    ours, theirs = reference.module(tensor.module), other.module(option.module)
    ops = ("" if ours is None else ours.op, "" if theirs is None else theirs.op)
    return (
        tensor.leaf != option.leaf,
        all(ops) and ops[0] != ops[1],
        not _alike(tensor.module, option.module),
    )


def _alike(ours: str, theirs: str) -> bool:
    """Whether two modules have one name, whatever each model calls itself."""
    first, second = (_components(name) for name in (ours, theirs))
    short = min(len(first), len(second))
    return first[-short:] == second[-short:]


def _components(name: str) -> list[str]:
    parts = name.replace("/", ".").split(".")
    return ["".join(c for c in part.lower() if c.isalnum()) for part in parts]


def _joined(tensor: NativeTensor, free: Sequence[NativeTensor]) -> tuple[Part, ...]:
    """Return the parts of a tensor that another framework keeps as several; none where it is one.

    Its leaf says which: ``query+key+value weight``.
    """
    names, _, leaf = tensor.leaf.partition(" ")
    each = names.split("+")
    if len(each) < 2 or not tensor.shape or tensor.shape[0] % len(each):
        return ()
    one = replace(tensor, shape=(tensor.shape[0] // len(each), *tensor.shape[1:]))
    parts = []
    for name in each:
        option = next((o for o in free if o.leaf == f"{name} {leaf}"), None)
        part = None if option is None else fitting(one, option)
        if part is None:
            return ()
        parts.append(part)
    return tuple(parts)


def fitting(tensor: NativeTensor, option: NativeTensor) -> Part | None:
    """Return how ``tensor`` lies in ``option``, or None where it cannot."""
    ours, theirs = tensor.shape, option.shape
    if {tensor.layout, option.layout} == {DEPTHWISE, GROUPED}:
        return _depthwise(tensor, option)
    if tensor.layout and option.layout:
        if sorted(tensor.layout) != sorted(option.layout):
            return None
        axes = tuple(tensor.layout.index(letter) for letter in option.layout)
        moved = tuple(ours[axis] for axis in axes)
        if moved == theirs:
            return _part(option, axes)
        # Heads that share an axis here and have one of their own there.
        split = len(theirs) > len(ours) and prod(theirs) == prod(ours)
        return Part(option.name, theirs, axes, ours) if split and _cuts(moved, theirs) else None
    if ours == theirs:
        return _part(option, tuple(range(len(ours))))
    for axes in _orders(len(ours)):
        if tuple(ours[axis] for axis in axes) == theirs:
            return _part(option, axes)
    if [n for n in ours if n != 1] == [n for n in theirs if n != 1]:
        return Part(option.name, theirs)
    return None


def _cuts(whole: Shape, parts: Shape) -> bool:
    """Whether axes of ``whole`` are cut into those of ``parts``, each by itself."""
    ends = {prod(parts[:end]) for end in range(1, len(parts) + 1)}
    return all(prod(whole[:end]) in ends for end in range(1, len(whole) + 1))


def _depthwise(tensor: NativeTensor, option: NativeTensor) -> Part | None:
    """(C·m, 1, H, W) against (H, W, C, m), either way."""
    ours, theirs = tensor.shape, option.shape
    height, width, channels, each = ours if tensor.layout == DEPTHWISE else theirs
    grouped = (channels * each, 1, height, width)
    if tensor.layout == DEPTHWISE:
        return Part(option.name, theirs, (2, 3, 0, 1), ours) if theirs == grouped else None
    view = (channels, each, height, width)
    return Part(option.name, theirs, (2, 3, 0, 1), view) if ours == grouped else None


def _orders(axes: int) -> Sequence[tuple[int, ...]]:
    """Return orders of axes, the usual ones first."""
    usual = USUAL.get(axes, ())
    return [*usual, *(order for order in permutations(range(axes)) if axes <= 4)]


def _part(option: NativeTensor, axes: tuple[int, ...]) -> Part:
    same = axes == tuple(range(len(axes)))
    return Part(option.name, option.shape, None if same else axes)


def _guessed(tensor: NativeTensor, option: NativeTensor) -> bool:
    """Whether the layout is one of several that fit, and no backend knows it."""
    known = bool(tensor.layout and option.layout)
    sizes: Shape = tuple(size for size in tensor.shape if size != 1)
    return not known and len(sizes) > 1 and len(set(sizes)) < len(sizes)
