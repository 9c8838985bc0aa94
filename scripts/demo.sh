#!/usr/bin/env bash
# The main job on a fresh machine: one experiment pretrains, selects, optimizes and fine-tunes.
#
#   bash scripts/demo.sh                          on PyTorch
#   bash scripts/demo.sh --backend tensorflow     the same experiment elsewhere
#
# Every option goes to `paribus run examples/digits.toml`.
set -euo pipefail
cd "$(dirname "$0")/.."
backend=torch
options=("$@")
for ((i = 0; i < ${#options[@]}; i++)); do
    case "${options[i]}" in
        --backend) backend="${options[i + 1]:-torch}" ;;
        --backend=*) backend="${options[i]#--backend=}" ;;
    esac
done
bash scripts/setup.sh "$backend"
case " $* " in *" --backend"*) ;; *) options+=(--backend torch) ;; esac
exec .venv/bin/paribus run examples/digits.toml "${options[@]}"
