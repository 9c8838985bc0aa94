"""``paribus run --check``: everything that a run would try first, and nothing of the run itself."""

from __future__ import annotations

from pathlib import Path

from paribus import registry
from paribus.machine import Machine
from paribus.native.natives import Natives
from paribus.runstate.room import require_room
from paribus.spec import absolute
from paribus.spec.sections import Spec
from paribus.steps.examples import Examples
from paribus.steps.prepare import prepare
from paribus.steps.rehearsal import Tried, rehearse


def check(
    spec: Spec,
    *,
    backend: str | None = None,
    device: str | None = None,
    out: str | Path | None = None,
) -> list[Tried]:
    """Try one batch of every training that a run may come to; make no folder and train nothing.

    Args:
        spec: from ``paribus.load``.
        backend, device: instead of the spec's.
        out: the run folder, which is neither made nor emptied.

    Returns:
        what became of each; those with an ``error`` would fail.

    Raises:
        SpecError, DataError, WeightsError: what a run refuses before it trains.
        BackendError: the backend or device is not there.
        RunFolderError: the folder cannot be written, or has no room for the run's checkpoints.
    """
    descriptor = registry.choose(spec.backend if backend is None else backend)
    place = registry.resolve_device(descriptor, spec.device if device is None else device)
    spec = absolute(spec).model_copy(update={"backend": descriptor.name, "device": place})
    natives = None if spec.native is None else Natives(spec.native, [descriptor], spec.seed)
    examples = Examples(spec, natives)
    prepare(spec, examples)
    with Machine(descriptor, place, spec.precision, spec.numerics) as machine:
        tried = list(rehearse(spec, examples, machine))
    folder = Path("runs") / spec.name if out is None else Path(out)
    require_room(folder, max(one.state for one in tried), spec.checkpoints.keep)
    return tried
