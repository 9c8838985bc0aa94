"""The conformance suite: what an adapter owes (``paribus.adapter``), as tests. Needs pytest.

An adapter's author writes one test file and gets every check that paribus' own adapters get::

    import pytest
    from paribus.testing.suite import *

    @pytest.fixture(scope="session")
    def backend() -> str:
        return "mybackend"  # as it is registered in the group paribus.backends

No other framework is needed: what is computed is compared with **golden tensors** in float64 that
ship with the suite (``paribus.testing.shipped``), or with ``paribus.reference``. A backend without
float64 is compared in float32, with the tolerances of ``paribus.testing.bench``.

**What applies** follows from ``Backend.capabilities``. A check that needs more than is claimed ends
as *not claimed*, an outcome of its own, which counts neither as passed nor as skipped. So an
adapter can begin with ``linear`` and ``sgd`` and grow.

**Known failures** are a table, and strict: one that passes is a failure::

    @pytest.fixture(scope="session")
    def known_failures():
        return {"rules.weights[rmsprop]": ("epsilon is inside the root", AssertionError)}

The backend runs in a child process, so that a crash of its framework is a failed check.
``pytest -p paribus.testing.plugin --conformance-in-process`` runs it in pytest's own, for a
debugger; ``--conformance FILE`` writes what became of each check as JSON, and with
``--conformance-device cuda`` sessions are opened there (a fixture ``device`` says so for good).

A check's name, ``group.check[case]``, is stable; ``python -m paribus.testing.checks`` lists them.
"""

try:
    import pytest
except ImportError as error:
    raise ImportError(
        "paribus.testing needs pytest, which is not installed; pip install 'paribus[testing]'"
    ) from error

# Before the suite is imported: its plain asserts then say what was compared.
pytest.register_assert_rewrite("paribus.testing.suite")
