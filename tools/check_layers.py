"""Holds the import contracts of ``pyproject.toml``."""

from __future__ import annotations

import sys

from importlinter.cli import lint_imports

if __name__ == "__main__":
    # A cache would remember modules by what was there when they were read.
    sys.exit(lint_imports(no_cache=True, no_logo=True))
