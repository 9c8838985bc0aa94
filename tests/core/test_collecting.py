"""Which objects Python looks through for circles during a run."""

from __future__ import annotations

import gc
import weakref

import pytest

from paribus.collecting import seldom_collected, set_aside


class Circle:
    def __init__(self) -> None:
        self.itself = self


def test_what_there_was_is_left_alone_and_what_is_new_is_collected() -> None:
    assert gc.get_freeze_count() == 0
    with set_aside():
        held = gc.get_freeze_count()
        assert held > 1000
        gone = weakref.ref(Circle())
        gc.collect()
        assert gone() is None
        with set_aside():  # a run inside of a run
            assert gc.get_freeze_count() >= held - 10
        assert gc.get_freeze_count() >= held - 10, "the inner one took the outer one's back"
    assert gc.get_freeze_count() == 0


@set_aside()
@seldom_collected()
def fails() -> None:
    assert gc.get_threshold()[2] >= 1000
    assert gc.get_freeze_count() > 0
    raise RuntimeError("as runs may")


def test_an_error_leaves_the_collector_as_it_was() -> None:
    before = gc.get_threshold()
    with pytest.raises(RuntimeError, match="as runs may"):
        fails()
    assert gc.get_freeze_count() == 0
    assert gc.get_threshold() == before
