#!/usr/bin/env bash
# mypy needs the tree as it is installed: core/ is the package paribus, backends/ is below it.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf build/typing build/lib
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade \
    --target build/typing .
MYPYPATH=build/typing .venv/bin/mypy -p paribus
