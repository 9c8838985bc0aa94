"""Property tests judge answers, not a busy machine's speed, and try the same cases each time."""

from hypothesis import settings

settings.register_profile("paribus", deadline=None, derandomize=True)
settings.load_profile("paribus")
