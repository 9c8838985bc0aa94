"""A backend in a process of its own, behind the same contract.

Comparing frameworks in one process does not work: they share threads and memory, and one order of
imports aborts the process. ``RemoteBackend`` is a ``Backend`` whose sessions live in a child,
``python -m paribus.remote NAME``; every call is one request and one reply (``paribus.channel``), so
verification, comparison and the tests use any number of frameworks from a process that imports
none. Only plans and results cross, K steps at a time: the pipe costs next to nothing.

An error of ours crosses as its class name and message, and is raised again as itself. A child that
dies is a ``BackendError`` with the last lines of what it wrote to stderr. The child leaves when its
pipe closes, so it does not outlive its parent.
"""

from paribus.remote.backend import RemoteBackend
from paribus.remote.session import RemotePending, RemoteSession

__all__ = ["RemoteBackend", "RemotePending", "RemoteSession"]
