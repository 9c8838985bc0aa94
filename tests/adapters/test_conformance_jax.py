"""What every adapter owes, shown for this one."""

import pytest

from paribus.testing.suite import *


@pytest.fixture(scope="session")
def backend() -> str:
    return "jax"
