"""The contract's methods as source to begin from, cut out of ``paribus.adapter`` itself.

Signatures and docstrings are its own lines, so that a new adapter starts from the contract of the
paribus that wrote it.
"""

from __future__ import annotations

import ast
import inspect
from textwrap import dedent

from paribus.adapter import Pending, Session


def methods(unwritten: str) -> str:
    """Return every method of ``Session``, indented for a class body.

    A method that the contract leaves open raises ``unwritten("name")``; one that has a default
    calls it. ``close`` is written: an unwritten one would hide what went wrong before it.
    """
    found = [_method(Session, name, unwritten) for name in vars(Session) if name[0] != "_"]
    return "\n\n".join(text for text in found if text)


def pending(unwritten: str) -> str:
    """Return the method of ``Pending``."""
    return _method(Pending, "result", unwritten, "result of train_steps")


def _method(owner: type, name: str, unwritten: str, called: str = "") -> str:
    function = inspect.unwrap(getattr(owner, name)) if callable(getattr(owner, name)) else None
    if function is None:
        return ""
    source = dedent(inspect.getsource(function))
    (tree,) = ast.parse(source).body
    assert isinstance(tree, ast.FunctionDef)
    docstring = tree.body[0]
    # What stands between the decorators and the docstring's end is the contract.
    lines = source.splitlines()[tree.lineno - 1 : docstring.end_lineno]
    if name == "close":
        # The base class's context manager calls it, whatever happened before.
        body = "self._open = False"
    elif getattr(function, "__isabstractmethod__", False) or owner is Pending:
        body = f'raise {unwritten}("{called or name}")'
    else:
        gives = "" if ast.unparse(tree.returns or ast.Constant(None)) == "None" else "return "
        body = f"{gives}super().{name}({_arguments(tree.args)})"
    return "\n".join(f"    {line}".rstrip() for line in [*lines, f"    {body}"])


def _arguments(given: ast.arguments) -> str:
    positional = [argument.arg for argument in given.args[1:]]
    return ", ".join([*positional, *(f"{a.arg}={a.arg}" for a in given.kwonlyargs)])
