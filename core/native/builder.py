"""The user's function that builds a model: found, imported and called where a spec is run.

A spec is its user's own and may name code; a run folder, a checkpoint or a data file never does.
The import happens in the process of the backend that opens the model. The folder of the spec (or
``native.path``) comes first on the module path while the module is imported and the model is built,
and leaves it afterwards; the current folder is on it only where the user's Python puts it there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module, invalidate_caches
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from paribus.errors import ParibusError, SpecError, nearest

# Modules that were imported from specs' folders, with the time and size of their file then. Another
# folder's of the same name is not taken for them, nor they for what they have become.
_IMPORTED: dict[str, tuple[str, tuple[int, int]]] = {}


@dataclass(frozen=True)
class Builder:
    """A function of the user's that takes nothing and returns a model.

    Attributes:
        target: ``package.module:function``.
        folder: absolute; where the module is looked for first.
    """

    target: str
    folder: str

    def build(self) -> Any:
        """Import the module, call the function and return what it returns.

        Raises:
            SpecError: no such module or function, or one of them fails; it says how.
        """
        module, _, function = self.target.partition(":")
        with _first_on_path(self.folder):
            found = getattr(self._module(module), function, None)
            if not callable(found):
                raise self._no_function(module, function, found)
            try:
                return found()
            except ParibusError:
                raise
            except Exception as error:  # the user's code may raise anything
                raise SpecError(
                    f"native: {self.target} failed: {type(error).__name__}: {error}; it is called "
                    "without arguments and returns the model"
                ) from error

    def _module(self, name: str) -> ModuleType:
        top = name.partition(".")[0]
        self._forget_others(top)
        before = set(sys.modules)
        try:
            return import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and f"{name}.".startswith(f"{error.name}."):
                raise SpecError(
                    f"native: {self.target}: there is no module {error.name!r} in {self.folder}, "
                    f"nor is one installed.{nearest(top, _modules_in(self.folder))} "
                    "Name the folder that holds it with native.path"
                ) from error
            raise self._failed(name, error) from error
        except Exception as error:  # a module of the user's may raise anything
            raise self._failed(name, error) from error
        finally:
            for new in set(sys.modules) - before:
                if _is_below(sys.modules[new], self.folder):
                    _IMPORTED[new] = self.folder, _stamp(sys.modules[new])

    def _forget_others(self, top: str) -> None:
        """Forget modules of other folders, and changed ones; refuse to hide an imported module."""
        changed = any(
            name in sys.modules and _stamp(sys.modules[name]) != stamp
            for name, (_, stamp) in _IMPORTED.items()
        )
        for name in [n for n, (of, _) in _IMPORTED.items() if changed or of != self.folder]:
            sys.modules.pop(name, None)
            del _IMPORTED[name]
        # A file that was written a moment ago is not in what Python remembers of its folder.
        invalidate_caches()
        loaded, found = sys.modules.get(top), PathFinder.find_spec(top, [self.folder])
        if loaded is None or found is None or _is_below(loaded, self.folder):
            return
        raise SpecError(
            f"native: {self.target}: {found.origin or self.folder} has the name of the module "
            f"{top!r}, which is already imported from {getattr(loaded, '__file__', 'elsewhere')}; "
            "rename yours"
        )

    def _no_function(self, module: str, function: str, found: Any) -> SpecError:
        if found is not None:
            return SpecError(
                f"native: {self.target} is a {type(found).__name__}; name a function that returns "
                "the model"
            )
        names = [name for name, value in vars(sys.modules[module]).items() if callable(value)]
        return SpecError(
            f"native: {self.target}: the module {module!r} has no function {function!r}."
            f"{nearest(function, names)}"
        )

    def _failed(self, name: str, error: Exception) -> SpecError:
        return SpecError(
            f"native: {self.target}: the module {name!r} cannot be imported: "
            f"{type(error).__name__}: {error}"
        )


@contextmanager
def _first_on_path(folder: str) -> Iterator[None]:
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _is_below(module: ModuleType, folder: str) -> bool:
    file = getattr(module, "__file__", None)
    places = [file] if file else [str(path) for path in getattr(module, "__path__", ())]
    return any(Path(place).is_relative_to(folder) for place in places)


def _stamp(module: ModuleType) -> tuple[int, int]:
    try:
        found = Path(str(module.__file__)).stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _modules_in(folder: str) -> list[str]:
    try:
        return [
            path.stem for path in Path(folder).iterdir() if path.suffix == ".py" or path.is_dir()
        ]
    except OSError:
        return []
