"""The files of a new adapter's package as text; ``$words`` are filled in by ``package``."""

from __future__ import annotations

PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "$distribution"
version = "0.1.0"
description = "$prefix as a backend of paribus."
readme = "README.md"
requires-python = ">=3.11"
# Write: the framework, after paribus.
dependencies = ["paribus>=$version"]

[project.optional-dependencies]
test = ["paribus[testing]"]

# This is how paribus finds the backend; the name must be the descriptor's.
[project.entry-points."paribus.backends"]
$backend = "$module:backend"

[tool.setuptools.packages.find]
where = ["src"]

[tool.pytest.ini_options]
testpaths = ["tests"]
"""

README = """\
# $distribution

$prefix as a backend of [paribus](https://pypi.org/project/paribus/): the same experiment, the
same training.

```sh
pip install -e '.[test]'
paribus backends                       # lists $backend
python -m pytest -x                    # says what to write next
paribus run SPEC --backend $backend
```

`src/$module/__init__.py` is the descriptor: what the backend can do, said without importing the
framework. `src/$module/session.py` does it; its docstrings are the contract. The page *Adapters* in
paribus' documentation has the order to write it in, the arithmetic, and the traps.
"""

DESCRIPTOR = '''\
"""The $backend adapter's descriptor: what it can do, said without importing the framework."""

from __future__ import annotations

from importlib.util import find_spec

from paribus.adapter import Backend, Capabilities, Numerics, Precision, Session, Task
from paribus.architectures import Network
from paribus.errors import BackendMissing, DeviceMissing, Unsupported, nearest
from paribus.optimizers import RULES


class ${prefix}Backend(Backend):
    """$prefix, on a CPU."""

    name = "$backend"
    title = "$prefix"
    # Write: the framework's distributions, the deciding one first. NumPy is always there.
    packages = ("numpy",)
    install = "pip install $distribution"
    # What an mlp needs. Every operation that is added here is tested; claim what is written.
    capabilities = Capabilities(
        operations=frozenset({"linear", "relu", "tanh", "flatten"}),
        rules=frozenset(RULES),
        precisions=frozenset({"float32", "float64"}),
        device_types=frozenset({"cpu"}),
    )

    def available(self) -> str | None:
        """Return None when the packages are there, else the reason; imports nothing."""
        missing = [name for name in self.packages if find_spec(name) is None]
        return f"{' and '.join(missing)} not installed" if missing else None

    def devices(self) -> list[str]:
        """Return the devices on this machine, best first, ``cpu`` last; imports the framework."""
        reason = self.available()
        if reason:
            raise BackendMissing(f"backend $backend: {reason}; install it with: {self.install}")
        # Write: ask the framework; accelerators are called cuda:0, cuda:1, …
        return ["cpu"]

    def open(
        self,
        network: Network,
        task: Task,
        *,
        device: str,
        precision: Precision,
        numerics: Numerics,
    ) -> Session:
        """Open a session; see ``paribus.adapter.Backend.open``."""
        known = self.devices()
        if device not in known:
            raise DeviceMissing(
                f"backend $backend: no device {device!r} on this machine; "
                f"allowed: {', '.join(known)}.{nearest(device, known)}"
            )
        self._require("precision", {precision}, self.capabilities.precisions)
        self._require("update rule", {task.rule}, self.capabilities.rules)
        operations = set(network.operations)
        self._require("operation", operations, self.capabilities.operations)
        # Here and not above: the framework is imported when it is used.
        from $module.session import ${prefix}Session

        return ${prefix}Session(network, task, device, precision, numerics)

    def _require(self, what: str, wanted: set[str], able: frozenset[str]) -> None:
        for value in sorted(wanted - able):
            raise Unsupported(
                f"backend $backend cannot honour {what} {value!r}; "
                f"allowed: {', '.join(sorted(able))}.{nearest(value, able)}"
            )


backend = ${prefix}Backend()
'''

SESSION = '''\
"""The session: K optimizer steps at a time on the framework.

Written by ``paribus new-adapter``; the docstrings are the contract's (``paribus.adapter``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paribus.adapter import Array, Numerics, Pending, Precision, Session, Task, Tensors
from paribus.architectures import Network
from paribus.belongings import NOTHING, Belongings
from paribus.errors import Unsupported
from paribus.plan import EvalPlan, StepResults, Sums, TrainPlan


def unwritten(method: str) -> Unsupported:
    """Return the error that says what to write next."""
    contract = getattr(Session, method, None)
    asks = (contract.__doc__ or "").strip().splitlines()[0] if contract else ""
    return Unsupported(f"write {method} in {__file__}: {asks or 'see its docstring there'}")


class Steps:
    """K steps under way; implements ``paribus.adapter.Pending``."""

$pending


class ${prefix}Session(Session):
    """A network with its weights and optimizer state, on one device."""

    def __init__(
        self,
        network: Network,
        task: Task,
        device: str,
        precision: Precision,
        numerics: Numerics,
    ) -> None:
        self._network, self._task, self._device = network, task, device
        self._precision, self._numerics = precision, numerics
        self._open = True

$methods
'''

TESTS = '''\
"""What paribus asks of every backend; ``python -m pytest -x`` says what to write next."""

import pytest
from paribus.testing.suite import *  # noqa: F403


@pytest.fixture(scope="session")
def backend() -> str:
    """Return the name of the backend that is tested."""
    return "$backend"
'''

FILES = {
    "pyproject.toml": PYPROJECT,
    "README.md": README,
    "src/$module/__init__.py": DESCRIPTOR,
    "src/$module/py.typed": "",
    "src/$module/session.py": SESSION,
    "tests/test_conformance.py": TESTS,
}
