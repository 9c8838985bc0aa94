"""The folder where features are kept: any process may use it, and anybody may empty it.

An entry is a folder under the name of what it depends on: ``features.bin``, the plain numbers, and
``entry.json``, which says their shape, dtype and SHA-256. It is written under another name, synced
and renamed, so it is there as a whole or not at all; where two processes write the same one, the
second finds that it is there already. What is read is mapped into memory, which keeps the numbers
there for as long as they are used, even if the entry is removed meanwhile. Nothing that an entry
holds is executed; one that is damaged is removed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from paribus import durable
from paribus.cachefolder import cache_folder
from paribus.features.entry import ENTRY, NUMBERS, Kept, Writer, described, mapped

STAGED = ".partial-"
# Seconds after which what a process began to write is taken for left behind by one that died.
ABANDONED = 24 * 3600
_NAME = re.compile(r"[0-9a-f]{64}")


class NoRoom(Exception):
    """Features cannot be kept; the message says why, as the end of a sentence."""


def folder_of(directory: str | None) -> Path:
    """Return the folder that a spec's ``cache.directory`` means."""
    if directory is not None:
        return Path(directory).expanduser()
    return cache_folder() / "features"


@dataclass(frozen=True)
class Entry:
    """What a listing says of an entry.

    Attributes:
        name: of its folder; bytes: on the disk; used: seconds since 1970.
        about: what it holds, for people.
    """

    name: str
    bytes: int
    used: float
    about: Mapping[str, Any]


class Store:
    """The entries of one folder.

    Args:
        folder: need not exist.
        limit: bytes that all entries together may have.
        say: told what people should know.
    """

    def __init__(self, folder: Path, limit: int, say: Callable[[str], None] = lambda _: None):
        self.folder, self.limit, self._say = folder, limit, say

    def find(self, name: str) -> Kept | None:
        """Return the features of that name, checked; None where there are none.

        An entry that is damaged is removed, and that is said.
        """
        path = self.folder / name
        try:
            told = described(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._damaged(path, str(error))
            return None
        try:
            kept = mapped(path, told)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._damaged(path, str(error))
            return None
        with suppress(OSError):
            os.utime(path / ENTRY)
        return kept

    @contextmanager
    def writing(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[Writer]:
        """Open a new entry; ``Writer.finish`` puts it into its place.

        Raises:
            NoRoom: it is larger than the limit or than what is free, or cannot be written.
        """
        size = prod(shape) * dtype.itemsize
        if size > self.limit:
            raise NoRoom(f"they take {_gib(size)} and cache.limit is {_gib(self.limit)}")
        staged = self.folder / f"{STAGED}{uuid4().hex}"
        try:
            staged.mkdir(parents=True)
            self._forget_abandoned()
            self.prune(self.limit - size)
            free = shutil.disk_usage(self.folder).free
            if size > free:
                raise NoRoom(f"they take {_gib(size)} and {self.folder} has {_gib(free)} left")
            with (staged / NUMBERS).open("w+b") as file:
                yield Writer(self.folder / name, staged, file, shape, dtype)
        except OSError as error:
            raise NoRoom(
                f"{self.folder} cannot be written: {error.strerror or error}; another place is "
                "named by cache.directory"
            ) from error
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def note(self, name: str, same: Mapping[str, bool]) -> None:
        """Write down what has been found out about an entry, if it is still there."""
        path = self.folder / name / ENTRY
        with suppress(OSError, ValueError):
            told = described(path.parent)
            told["same"] = dict(same)
            staged = path.with_name(f"{ENTRY}.{uuid4().hex}")
            staged.write_text(json.dumps(told), encoding="utf-8")
            durable.replace(staged, path)

    def entries(self) -> list[Entry]:
        """Return what is there, the last used first."""
        found = []
        for path in self._paths():
            try:
                used = (path / ENTRY).stat().st_mtime
                size = sum(file.stat().st_size for file in path.iterdir())
                about = described(path)["about"]
            except (OSError, ValueError, KeyError, TypeError):
                used, size, about = 0.0, 0, {"model": "damaged"}
            found.append(Entry(path.name, size, used, about if isinstance(about, dict) else {}))
        return sorted(found, key=lambda entry: -entry.used)

    def prune(self, limit: int | None = None) -> int:
        """Remove what was not used for longest until ``limit`` bytes are left; return how many."""
        limit, total, removed = self.limit if limit is None else limit, 0, 0
        for entry in self.entries():
            total += entry.bytes
            if total > limit or not entry.used:
                _remove(self.folder / entry.name)
                removed += 1
                total -= entry.bytes
        return removed

    def clear(self) -> int:
        """Remove every entry; return how many."""
        paths = list(self._paths())
        for path in paths:
            _remove(path)
        self._forget_abandoned()
        return len(paths)

    def _paths(self) -> Iterator[Path]:
        """Yield the folders that are entries; nothing else in the folder is ever touched."""
        with suppress(OSError):
            for path in sorted(self.folder.iterdir()):
                if _NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                    yield path

    def _forget_abandoned(self) -> None:
        with suppress(OSError):
            for path in self.folder.glob(f"{STAGED}*"):
                if time.time() - path.stat().st_mtime > ABANDONED:
                    shutil.rmtree(path, ignore_errors=True)

    def _damaged(self, path: Path, why: str) -> None:
        self._say(f"features in {path} are damaged ({why}); they are removed and computed anew")
        _remove(path)


def _remove(path: Path) -> None:
    """Remove an entry: first its name, so that nobody finds half of one."""
    staged = path.with_name(f"{STAGED}{uuid4().hex}")
    with suppress(OSError):
        path.rename(staged)
        path = staged
    shutil.rmtree(path, ignore_errors=True)


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"
