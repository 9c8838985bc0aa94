"""The process in which contenders run: one JSON request a line in, one answer a line out.

    {"do": "set up", "title": …, "setup": "module:function", "given": {…}}   → seconds
    {"do": "run", "title": …, "amount": n}                                   → seconds, loss
    {"do": "drop", "title": …}                                               → nothing

What fails is answered with ``error``, its last lines, and others go on. Every answer has ``peak``,
the largest resident memory of the process so far in MiB.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import traceback
from typing import Any

from measuring.contenders import Run, Turn, clock, load


def main() -> None:
    """Answer until standard input ends."""
    # What a framework prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    runs: dict[str, Run] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = _answered(runs, request)
        except Exception:
            answer = {"error": traceback.format_exc(limit=-4)}
        print(json.dumps(answer | {"peak": _peak()}), file=answers, flush=True)


def _answered(runs: dict[str, Run], request: dict[str, Any]) -> dict[str, Any]:
    title = request["title"]
    began = clock()
    if request["do"] == "set up":
        runs[title] = load(request["setup"])(**request["given"])
        return {"seconds": clock() - began}
    if request["do"] == "drop":
        del runs[title]
        gc.collect()
        return {}
    run, amount = runs[title], request["amount"]
    gc.collect()
    began = clock()
    turn = run(amount) or Turn()
    seconds = clock() - began
    return {"seconds": seconds if turn.seconds is None else turn.seconds, "loss": turn.loss}


def _peak() -> float:
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(size / 1024 if sys.platform != "darwin" else size / 1024**2)


if __name__ == "__main__":
    main()
