"""Fixtures: every adapter test runs on each promised backend."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from labs import PROMISED, Lab, Pool


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    pool = Pool()
    yield pool
    pool.close()


@pytest.fixture(params=PROMISED)
def lab(request: pytest.FixtureRequest, pool: Pool) -> Lab:
    return Lab(pool, request.param)


@pytest.fixture
def labs(pool: Pool) -> dict[str, Lab]:
    return {name: Lab(pool, name) for name in PROMISED}
