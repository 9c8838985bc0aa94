"""The work's order of rows for trainers that read through a ``DataLoader``."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Sampler

from rivals.works import Work


class Ordered(Sampler[int]):
    """In each epoch the rows in the next order of the work, as a shuffling sampler gives them."""

    def __init__(self, work: Work) -> None:
        self._orders = [order.tolist() for order in work.orders()]
        self._epoch = 0

    def __iter__(self) -> Iterator[int]:
        order = self._orders[self._epoch % len(self._orders)]
        self._epoch += 1
        return iter(order)

    def __len__(self) -> int:
        return len(self._orders[0])
