"""What an input does to the machine: seen by an audit hook, bounded by the system's limits.

Python reports each opened file, begun process, connection and change of a folder to its audit
hooks, before it happens. What no file of ours may cause is written down; a hook cannot be removed,
so it listens only while an input is read.
"""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

SPARE = 1 << 30
LARGEST_FILE = 1 << 26
# Of one input, beyond what was used before it: enough for a hundred of the small valid ones.
GROWTH_MIB = 400

_FORBIDDEN = (
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.startfile",
    "subprocess.Popen", "socket.connect", "socket.bind", "socket.getaddrinfo", "pty.spawn",
    "urllib.Request", "webbrowser.open", "pickle.find_class", "shutil.unpack_archive",
)  # fmt: skip
_CHANGES = (
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate",
    "os.chmod", "os.chown", "shutil.rmtree", "shutil.move", "shutil.copyfile",
)  # fmt: skip
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Watch:
    """Listens while ``listening``; ``seen`` is what should not have happened.

    Args:
        scratch: the only folder in which files may be written.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch.resolve()
        self.listening = False
        self.seen: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.listening:
            return
        if event in _FORBIDDEN:
            self.seen.append(f"{event} {str(arguments)[:200]}")
        elif event in _CHANGES:
            paths = [one for one in arguments[:2] if isinstance(one, str | bytes | os.PathLike)]
            # Behind the paths stand the folders that they are taken from, where they are open.
            folders = [one for one in arguments[len(paths) :] if isinstance(one, int)][-2:]
            for path, folder in zip(paths, [*folders, -1, -1], strict=False):
                self._require_inside(event, path, folder)
        elif event == "open":
            path, mode, flags = arguments
            if flags & _WRITING or (isinstance(mode, str) and set(mode) & set("wxa+")):
                self._require_inside("open for writing", path)

    def _require_inside(self, what: str, path: Any, folder: int = -1) -> None:
        # A number is a file that is open already.
        if not isinstance(path, str | bytes | os.PathLike):
            return
        self.listening = False
        base = Path.cwd() if folder < 0 else Path(f"/proc/self/fd/{folder}").resolve()
        place = (base / os.fsdecode(path)).resolve()
        self.listening = True
        if not place.is_relative_to(self._scratch) and str(place) != os.devnull:
            self.seen.append(f"{what} {place}")


def bound() -> None:
    """Bound this process: its memory by what it has and a gibibyte, files that it writes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + SPARE
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def peak_mib() -> int:
    """Return the most memory that this process has had since ``forget_peak``, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def forget_peak() -> int:
    """Let the most be what it is now, and return it in MiB; where that may not be, what it was."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_mib()
