#!/usr/bin/env bash
# All tests, with all frameworks; an absent one is a failure. Options go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh all,test
exec .venv/bin/python -m pytest -m "not full" "$@"
