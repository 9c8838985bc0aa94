"""Pieces of work in threads: all of them, in order, and the first error in that order."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paribus.data.parallel import each, parallel


@given(count=st.integers(0, 5000))
def test_every_item_is_there_once_and_in_order(count: int) -> None:
    assert parallel(lambda item: 2 * item, range(count)) == list(range(0, 2 * count, 2))


def test_several_threads_work_where_there_are_several_processors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("paribus.data.parallel._THREADS", 2)
    meet = threading.Barrier(2, timeout=60)

    def wait(item: int) -> int:
        meet.wait()  # for the other one, in vain if there were one thread alone
        return threading.get_ident()

    assert len(set(parallel(wait, range(2)))) == 2


def test_the_first_error_in_the_items_order_is_the_one_that_is_raised() -> None:
    def fail(item: int) -> int:
        if item >= 40:
            raise ValueError(f"item {item}")
        return item

    found = each(fail, range(3000))
    with pytest.raises(ValueError, match=r"item 40$"):
        list(found)
