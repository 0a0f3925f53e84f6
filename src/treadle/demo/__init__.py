"""A demo on real input: every file of the standard library, measured as a job."""

from __future__ import annotations
