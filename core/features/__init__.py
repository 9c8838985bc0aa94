"""Frozen bodies are computed once.

What is below everything that trains gives the same values for an example in every epoch, fold,
candidate and trial. It is computed once, kept on disk under a name that says what it depends on,
and the rest of the network trains on it as on any data.

    keys        what features depend on, as one name
    entry       one entry of the cache, written and read
    store       the folder of entries: complete or absent, checked, limited
    computing   examples through a body, in batches whose arithmetic is that of training
    tail        a session of the rest that behaves as one of the whole network
    opening     which trainings this is for, and all of the above together
"""

from paribus.features.store import Entry, Store, folder_of

__all__ = ["Entry", "Store", "folder_of"]
