"""How many rows can be judged at a time where the usual number does not fit: found by trying.

A row's output depends on no other row of its batch, but kernels are chosen by the shape of a batch,
and another kernel may round the last bit otherwise. In ``strict`` numerics fewer rows are therefore
only taken where batches of half as many have the same bits. That is as much as can be looked at:
what the batch that does not fit would have had, nobody knows. Measured on CPUs, batches of 32 to
128 rows had the bits of 215 and 250 for each of three networks, on three backends in two
precisions, with one exception (float64 convolutions of TensorFlow in a ResNet-18); batches of 16
and less often had others. Sums of language models are taken on the device, batch by batch, and
seldom are the same. In ``fast`` numerics rounding is free.
"""

from __future__ import annotations

from collections.abc import Callable

from paribus.adapter import Session
from paribus.data import Dataset, Streamed
from paribus.draws import Floats
from paribus.errors import OutOfMemory
from paribus.feeding import Feed
from paribus.judging import EVALUATION_BATCH, Judge
from paribus.machine import Machine
from paribus.plan import Integers


def rows_that_fit(
    machine: Machine,
    opened: Callable[[], Session],
    dataset: Dataset,
    judge: Judge,
    rows: Integers,
    error: OutOfMemory,
) -> OutOfMemory:
    """Return an error with the ``rows`` that can be judged at a time, or with what stands against.

    Args:
        machine: its sessions are closed.
        opened: returns a session that has weights of the kind that are to be judged.
        dataset, judge, rows: that did not fit.
        error: what was raised.
    """
    machine.close()

    def outputs(size: int) -> list[Floats] | None:
        try:
            with opened() as session:
                return judge.firsts(Feed(session, Streamed.of(dataset.x), dataset.y, size), rows)
        except OutOfMemory:
            return None

    # The largest power of two below what did not fit.
    size = 1 << (min(machine.thrift.rows or EVALUATION_BATCH, len(rows)) - 1).bit_length() - 1
    while size and (whole := outputs(size)) is None:
        size //= 2
    if not size:
        return OutOfMemory(
            f"{error}. With the device to itself not even one row can be judged; use a smaller "
            "network or smaller examples, or go on where there is more memory"
        )
    same = machine.numerics == "fast"
    if not same and size > 1:
        half = outputs(size // 2)
        pairs = zip(whole or [], half or [], strict=True)
        same = all(one.tobytes() == other.tobytes() for one, other in pairs)
    if same:
        fits = OutOfMemory(str(error))
        fits.judging, fits.rows = True, size
        return fits
    return OutOfMemory(
        f"{error}. It happened where rows are judged, with the device to itself. {size} at a time "
        "fit, and would have other last bits, which numerics = 'strict' does not allow: begin anew "
        "with numerics = 'fast', or go on where there is more memory"
    )
