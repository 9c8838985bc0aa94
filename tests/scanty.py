"""A third party's PyTorch adapter on a machine with little memory, or with another fault.

What fails stands in the file that the environment's SCANTY names, as JSON, and is read whenever a
session is opened:

    rows      shards of more rows than this do not fit; the update before has been made
    judged    batches of more rows than this do not fit, where they are evaluated or predicted
    rounds    whether the outputs of fewer than 32 rows have other last bits
    examples  more examples than this at once do not fit the device
    together  more replicas than this do not, from their third call on
    refuses   an architecture that fails in training with an error of the framework's own
    joins     an architecture, replicas of which fail in training
    cuts      whether a part of a network cannot be computed
    touches   a file, to which a byte is appended at the third call of ``train_steps``
    alters    a file and a place, whose byte becomes another then; its size and time stay
    renews    a file, which gets another time of change then, and no other byte
    lacks     an update rule, or a precision, that its capabilities do not name
    records   why no step can be recorded; without it none is, as on any CPU
    after     calls of ``train_steps`` after which the process kills itself
"""

from __future__ import annotations

from pathlib import Path

import third_party

NAME = "scanty"

SOURCE = """
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np

from paribus.backends.torch import TorchBackend


def faults():
    return json.loads(Path(os.environ["SCANTY"]).read_text())


def spoil(session, found, architecture):
    import torch

    from paribus.backends.torch.memory import memory

    if "records" in found:
        from paribus.backends.torch import captured

        def refuse(work, where):
            raise captured.NotRecorded(found["records"])

        own = session.train_steps

        def refused(handle, plan):
            # Other sessions of the process are to record as ever.
            with patch.object(captured, "recorded", refuse):
                return own(handle, plan)

        session.train_steps = refused
        session._stepper.change(replace(session._stepper.setup, captured=True))
    put, train, predict = session.put, session.train_steps, session.predict
    calls = []

    def allocate(fits):
        if not fits:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    @memory
    def new_put(x, y):
        allocate(len(x) <= found.get("examples", len(x)))
        return put(x, y)

    @memory
    def new_predict(handle, plan):
        rows = plan.indices.shape[1]
        allocate(rows <= found.get("judged", rows))
        outputs = predict(handle, plan)
        if "rounds" in found and rows < 32:
            return outputs * outputs.dtype.type(1 + np.finfo(outputs.dtype).eps)
        return outputs

    @memory
    def new_train(handle, plan):
        calls.append(plan)
        if len(calls) > found.get("after", len(calls)):
            os.kill(os.getpid(), signal.SIGKILL)
        if len(calls) == 3 and "touches" in found:
            with open(found["touches"], "ab") as stream:
                stream.write(b"\\0")
        if len(calls) == 3 and "alters" in found:
            path, place = found["alters"]
            was, content = os.stat(path), bytearray(Path(path).read_bytes())
            content[place] ^= 1
            Path(path).write_bytes(content)
            os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
        if len(calls) == 3 and "renews" in found:
            os.utime(found["renews"], ns=(0, 10**18))
        if architecture == found.get("refuses"):
            from paribus.errors import Unsupported
            raise Unsupported("there is no kernel for it")
        if plan.indices.shape[2] > found.get("rows", plan.indices.shape[2]):
            train(handle, plan.first(1))
            allocate(False)
        return train(handle, plan)

    session.put, session.train_steps, session.predict = new_put, new_train, new_predict
    return session


class Scanty(TorchBackend):
    name = "scanty"
    title = "PyTorch with little memory"

    @property
    def capabilities(self):
        can, lacks = TorchBackend.capabilities, {faults().get("lacks")}
        return replace(can, rules=can.rules - lacks, precisions=can.precisions - lacks)

    def open(self, network, task, **options):
        if network.part and faults().get("cuts"):
            from paribus.errors import Unsupported
            raise Unsupported("there is no kernel for a part")
        session = super().open(network, task, **options)
        return spoil(session, faults(), network.architecture)

    def open_replicas(self, network, task, count, **options):
        from paribus.backends.torch.memory import memory

        replicas, found = super().open_replicas(network, task, count, **options), faults()
        train, calls = replicas.train_steps, []

        @memory
        def new_train(handle, plans):
            calls.append(plans)
            if network.architecture == found.get("joins"):
                from paribus.errors import Unsupported
                raise Unsupported("there is no kernel for many")
            done = train(handle, plans)
            if count > found.get("together", count) and len(calls) > 2:
                raise MemoryError("of replicas")
            return done

        replicas.train_steps = new_train
        return replicas


backend = Scanty()
"""


def install(folder: Path) -> None:
    """Write the distribution into a folder of the module path."""
    third_party.install(folder, "scanty", NAME, source=SOURCE)
