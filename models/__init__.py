"""Records, settings and the constraint algebra: the nouns."""

import os

# Before pyarrow is imported, which no room does before this one. Its own allocator gives nothing back: 200 MB more
# after a hundred small parts, and no faster.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
