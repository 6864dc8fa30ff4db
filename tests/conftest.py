"""Settings of all tests."""

from __future__ import annotations

import hypothesis

from tests.browser import chromium, open_page  # noqa: F401

# a busy machine is no failure: speed is shown by benchmarks, never by a timed test
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
