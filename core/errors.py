"""Every error that paribus raises on purpose.

People read these: each message says what was received, what is allowed and what to do. The
command line prints the message without a traceback and leaves with ``exit_code``. Whatever is
not in this tree is a defect of ours and is reported as one.

    ParibusError                 exit code 1
    ├── SpecError                exit code 2   the experiment spec says something impossible
    ├── DataError                exit code 2   the data is unreadable or does not fit the spec
    ├── WeightsError             exit code 2   missing, extra or misshapen tensors; unreadable file
    ├── BackendError             exit code 1
    │   ├── UnknownBackend       exit code 2   no adapter of that name is registered
    │   ├── BackendMissing                     its framework is not installed
    │   ├── DeviceMissing                      the device is not on this machine
    │   ├── OutOfMemory                        the device, or the machine, has no more memory
    │   └── Unsupported                        the adapter cannot honour a value; it says which
    └── RunError                 exit code 1
        ├── NonFiniteLoss                      the loss became NaN or infinite at a named step
        └── RunFolderError                     the run folder is in use, unreadable or unwritable
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class ParibusError(Exception):
    """Base of every error raised on purpose; ``str(error)`` is a sentence for the user."""

    exit_code = 1


class SpecError(ParibusError):
    """The experiment spec is invalid; the message names the key's path."""

    exit_code = 2


class DataError(ParibusError):
    """Data could not be read, or does not fit what the spec asks of it."""

    exit_code = 2


class WeightsError(ParibusError):
    """Tensors are missing, extra, misshapen or unreadable; the message lists them."""

    exit_code = 2


class BackendError(ParibusError):
    """Something about a backend or its machine."""


class UnknownBackend(BackendError):
    """No adapter of that name is registered."""

    exit_code = 2


class BackendMissing(BackendError):
    """The adapter is known, but its framework is not installed; the message has the command."""


class DeviceMissing(BackendError):
    """The requested device does not exist on this machine."""


class OutOfMemory(BackendError):
    """A computation needs more memory than there is; what it was to change may be half changed.

    The session that raised it, or the replicas, can only be closed.

    Attributes:
        trainings: how many were made together when it happened.
        judging: whether it happened in an evaluation or a prediction, which change nothing.
        rows: that can be judged at a time with the same results, where that was found out.
    """

    trainings = 1
    judging = False
    rows: int | None = None


class Unsupported(BackendError):
    """The adapter cannot honour a requested value and refuses it by name."""


class RunError(ParibusError):
    """A run could not go on."""


class NonFiniteLoss(RunError):
    """The training loss became NaN or infinite; the message names the first such step."""


class RunFolderError(RunError):
    """The run folder cannot be created, written or read, or already holds a run."""


LISTED, LONGEST = 12, 200


def listed(names: Sequence[str]) -> str:
    """Return names for a message: the first ones, and how many more there are."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    # A name in a file may have megabytes.
    shown = [name if len(name) <= LONGEST else f"{name[:LONGEST]}…" for name in names[:LISTED]]
    return ", ".join(shown) + more


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest allowed word, or an empty string."""
    match = get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    return f" Did you mean {match[0]!r}?" if match else ""


def one_example(node: str) -> Unsupported:
    """Return the error of a shard of one example, of which a norm sees one value per channel."""
    return Unsupported(
        f"a shard of one example: {node!r} sees one value per channel, which has no variance to "
        "normalise with; choose a batch size or number of shards that leaves no single example, or "
        "larger images"
    )
