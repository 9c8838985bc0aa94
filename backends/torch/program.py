"""An update rule as a short list of operations in place.

Core writes each rule once, as an expression of arrays. Evaluated as it stands, every operator makes
a new tensor, and at the end weights and slots are copied. Here the expression is recorded once,
with symbols for the tensors and scalars, and played with tensors that exist: a scaled term of a sum
becomes part of the sum (``alpha``), what is wanted is written where it belongs, and two or three
tensors serve for all that lies between. A momentum update is two operations instead of six.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from paribus.optimizers import Rule

OPERATORS: dict[str, Callable[..., Tensor]] = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "sqrt": torch.sqrt,
}  # fmt: skip
# Of a scaled term in a sum.
SIGNS = {torch.add: 1.0, torch.sub: -1.0}


@dataclass(frozen=True, eq=False)
class Scalar:
    """A scalar of the step, known by name; of it and a term only products and sums are made."""

    name: str

    def __mul__(self, other: Term) -> Term:
        return Term("mul", (other, self))


@dataclass(frozen=True, eq=False)
class Term:
    """A tensor: one that is given (no operator), or an operator of terms and scalars."""

    operator: str = ""
    of: tuple[Term | Scalar, ...] = ()

    def __add__(self, other: Term | Scalar) -> Term:
        # A scaled term goes right, where it becomes part of the sum.
        swapped = _scaled(self) and isinstance(other, Term) and not _scaled(other)
        return Term("add", (other, self) if swapped else (self, other))

    def __sub__(self, other: Term | Scalar) -> Term:
        return Term("sub", (self, other))

    def __mul__(self, other: Term | Scalar) -> Term:
        return Term("mul", (self, other))

    def __truediv__(self, other: Term | Scalar) -> Term:
        return Term("div", (self, other))


@dataclass(frozen=True)
class Operation:
    """``out = operator(left, right)``, registers by number; a name is a scalar's.

    ``alpha``: a scalar that ``right`` is multiplied by first.
    """

    operator: Callable[..., Tensor]
    left: int
    right: int | float | str | None
    alpha: str | None
    out: int


class Program:
    """A rule for tensors that decay, or for those that do not.

    Attributes:
        spare: how many tensors it needs besides weights, gradient and slots.
    """

    def __init__(self, rule: Rule, decay: bool) -> None:
        weights, gradient, slots = Term(), Term(), tuple(Term() for _ in rule.slots)
        scalars = {name: Scalar(name) for name in rule.scalars}

        def root(term: Any) -> Any:
            return Term("sqrt", (term,))

        new, state = rule.update(weights, gradient, slots, scalars, decay, root)
        self._given: list[Term] = [weights, gradient, *slots]
        self._wanted = [(new, 0), *((term, 2 + k) for k, term in enumerate(state))]
        self._operations: list[Operation] = []
        self.spare = 0
        self._plan()

    def run(self, registers: Sequence[Tensor], scalars: Mapping[str, float | Tensor]) -> None:
        """Update tensors of one shape in place.

        Args:
            registers: weights, gradient, the slots in the rule's order, and ``spare`` more. The
                gradient is left as it is.
            scalars: the step's, by name: numbers, or tensors that fit the registers' shape, such as
                [r, 1] of rows [r, n].
        """
        for one in self._operations:
            left, out, right = registers[one.left], registers[one.out], one.right
            if right is None:
                one.operator(left, out=out)
            elif isinstance(right, str):
                one.operator(left, scalars[right], out=out)
            elif isinstance(right, float):
                one.operator(left, right, out=out)
            elif one.alpha is not None:
                factor = scalars[one.alpha]
                if isinstance(factor, Tensor):
                    sign = SIGNS[one.operator]
                    torch.addcmul(left, registers[right], factor, value=sign, out=out)
                else:
                    one.operator(left, registers[right], alpha=factor, out=out)
            else:
                one.operator(left, registers[right], out=out)

    def _plan(self) -> None:
        """Put the expression's operators in order, and say where each result is."""
        order: list[Term] = []
        for term, _ in self._wanted:
            _visit(term, order)
        uses: dict[Any, int] = {}
        for term in order:
            for part in term.of:
                if isinstance(part, Term):
                    uses[part] = uses.get(part, 0) + 1
        for term, _ in self._wanted:
            uses[term] = uses.get(term, 0) + 1
        inlined = {
            last for term in order
            if term.operator in ("add", "sub") and isinstance(last := term.of[1], Term)
            and _scaled(last) and uses[last] == 1
        }  # fmt: skip
        order = [term for term in order if term not in inlined]
        reads = [_reads(term, inlined) for term in order]
        place = {term: number for number, term in enumerate(self._given)}
        homes = {term: number for term, number in self._wanted if term.operator}
        free: list[int] = []
        for at, term in enumerate(order):
            later = {part for parts in reads[at + 1 :] for part in parts}
            for part in dict.fromkeys(reads[at]):
                # What nobody reads any more leaves its place, unless it is at home there.
                if part not in later and place[part] >= len(self._given):
                    free.append(place[part])
            home = homes.get(term)
            taken = home is not None and self._given[home] in later
            if home is None or taken:
                number = free.pop() if free else len(self._given) + self._more()
                place[term] = number
            else:
                place[term] = home
            self._operations.append(_operation(term, place, inlined))
        for term, home in self._wanted:
            if place[term] != home:
                self._operations.append(Operation(torch.mul, place[term], 1.0, None, home))

    def _more(self) -> int:
        self.spare += 1
        return self.spare - 1


def _visit(term: Term, order: list[Term]) -> None:
    if term.operator and term not in order:
        for part in term.of:
            if isinstance(part, Term):
                _visit(part, order)
        order.append(term)


def _scaled(part: Term | Scalar) -> bool:
    return isinstance(part, Term) and part.operator == "mul" and isinstance(part.of[1], Scalar)


def _reads(term: Term, inlined: set[Any]) -> list[Term]:
    parts = [part.of[0] if part in inlined else part for part in term.of]  # type: ignore[union-attr]
    return [part for part in parts if isinstance(part, Term)]


def _operation(term: Term, place: Mapping[Term, int], inlined: set[Any]) -> Operation:
    left, alpha, right = term.of[0], None, term.of[1] if len(term.of) > 1 else None
    assert isinstance(left, Term)
    if right in inlined:
        assert isinstance(right, Term)
        factor = right.of[1]
        assert isinstance(factor, Scalar)
        right, alpha = right.of[0], factor.name
    operand = right.name if isinstance(right, Scalar) else None if right is None else place[right]
    return Operation(OPERATORS[term.operator], place[left], operand, alpha, place[term])
