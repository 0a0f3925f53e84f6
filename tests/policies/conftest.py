"""Settings of the tests of the policies."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is no bug.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
