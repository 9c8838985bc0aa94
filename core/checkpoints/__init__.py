"""Published checkpoints in: other people's files of weights → canonical tensors.

Canonical names are those of published checkpoints (``architectures.network``), so most of this is
reading. Where a publisher writes other names than the canonical ones, ``names`` has a table from
theirs to ours; it belongs to core and to no backend, because whoever trains on TensorFlow may hold
a file that transformers wrote, and need not have transformers.

The files are anybody's. Each is looked at before it is opened (``folder``), its sizes are checked
before memory is taken (``tensorfile``), its JSON is read value by value (``fields``), and nothing
in it is executed. What is in a framework's own format, core cannot read: a backend that says that
it can does so in a process of its own (``foreign``).
"""
