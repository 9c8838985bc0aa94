"""What was chosen on this machine before, in small JSON files that may be deleted at any time.

Each choice is a file of its own in ``tuning/`` of the cache folder, called by a hash of all that
it depends on, so that two runs never write the same file with different contents in mind. What is
read is anybody's: a file that is not exactly such a record, of this subject and with settings that
could be chosen now, is not used.
"""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from pydantic import ValidationError

from paribus import durable
from paribus.filenames import is_odd
from paribus.tuning.choice import Choice
from paribus.tuning.trying import Axes

LARGEST = 1 << 20


class Memory:
    """The choices in ``folder``; nothing is made there before something is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def recall(self, key: str, subject: str, axes: Axes) -> tuple[Choice | None, str]:
        """Return the choice kept under ``key``, or None, and what is wrong with it if it is.

        Args:
            key: of the file; subject: what the choice must say that it is for.
            axes: what can be chosen now.
        """
        path = self._path(key)
        try:
            if is_odd(path):
                raise ValueError("it is no plain file")
            if path.stat().st_size > LARGEST:
                raise ValueError(f"it has more than {LARGEST} bytes")
            choice = Choice.model_validate_json(path.read_text("utf-8"))
            if choice.subject != subject:
                raise ValueError("it is about something else")
            if not allowed(choice, axes):
                raise ValueError(f"its settings {choice.settings} cannot be chosen")
        except FileNotFoundError:
            return None, ""
        except (OSError, ValidationError, ValueError) as error:
            why = "it is no record of a choice" if isinstance(error, ValidationError) else error
            return None, f"{path} is not used ({why}); it is written anew"
        return choice, ""

    def keep(self, key: str, choice: Choice) -> str:
        """Write a choice, all of it or nothing; return why that failed, or nothing."""
        path = self._path(key)
        staged = path.with_name(f"{path.name}.{uuid4().hex}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            durable.create(staged, choice.model_dump_json(exclude={"origin", "note"}).encode())
            durable.replace(staged, path)
        except OSError as error:
            durable.discard(staged)
            return f"the choice cannot be remembered in {path.parent}: {error.strerror or error}"
        return ""

    def _path(self, key: str) -> Path:
        return self._folder / "tuning" / f"{key}.json"


def allowed(choice: Choice, axes: Axes) -> bool:
    """Return whether every axis, and no other, has one of its values; 1 is not ``True``."""
    settings = choice.settings
    return set(settings) == set(axes) and all(
        any(settings[axis] == value and type(settings[axis]) is type(value) for value in values)
        for axis, values in axes.items()
    )
