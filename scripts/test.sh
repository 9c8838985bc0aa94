#!/usr/bin/env bash
# All tests, with all frameworks; an absent one is a failure. Options go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh all,test
# One thread each: the networks are tiny, and threads that wait for each other cost more.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" TF_NUM_INTRAOP_THREADS="${TF_NUM_INTRAOP_THREADS:-1}"
# Two at a time, a file's tests in one process: they share sessions, which are dear to open. The
# files come in the order of tests/conftest.py, the longest first.
exec .venv/bin/python -m pytest -m "not full and not cuda" -n 2 --dist loadfile --no-loadscope-reorder "$@"
