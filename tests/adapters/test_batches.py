"""Arrays that PyTorch reads: no copy is made of what may not be written to."""

from __future__ import annotations

from typing import Any

import pytest
from command import python

SCRIPT = """
import json
import numpy as np
from paribus.backends.torch.batches import source

found = {}
numbers = np.arange(24.0).reshape(4, 6)
kept = numbers.copy()
kept.setflags(write=False)
for name, array in (("free", numbers), ("read-only", kept), ("with gaps", numbers[:, ::2])):
    tensor = source(array)
    found[name] = [tensor.data_ptr() == array.__array_interface__["data"][0],
                   bool((tensor.numpy() == array).all()), array.flags.writeable]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return python(SCRIPT, cwd=tmp_path_factory.mktemp("batches"))


def test_arrays_are_read_where_they_are(found: Any) -> None:
    assert found["free"] == [True, True, True]
    assert found["read-only"] == [True, True, False]


def test_what_has_gaps_in_memory_is_copied(found: Any) -> None:
    assert found["with gaps"] == [False, True, True]
