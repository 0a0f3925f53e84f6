"""The command line in a project of its own, as its own tests have it."""

from __future__ import annotations

from tests.cli.conftest import shell

__all__ = ["shell"]
