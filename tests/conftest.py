"""Settings of all tests."""

from __future__ import annotations

import hypothesis

# a busy machine is no failure: speed is shown by benchmarks, never by a timed test
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
