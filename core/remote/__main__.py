"""The child of a ``RemoteBackend``: ``python -m paribus.remote NAME``."""

import sys

from paribus.remote.server import serve

serve(sys.argv[1])
